import type {
  Delivery,
  Host,
  Outgoing,
  ReceiverEvents,
  SenderEvents,
  Sender,
  TallyError,
  TopicPlan,
  Transport,
  Verdict,
} from "@tallymq/core/spi";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import type { AmqpScript, AmqpServerOptions, ScriptedAmqp } from "@tallymq/testkit/amqp-server";
import { scriptedAmqp } from "@tallymq/testkit/amqp-server";
import { realClock } from "@tallymq/testkit";
import { ORDERS, outgoing } from "@tallymq/testkit/port";

export { ORDERS } from "@tallymq/testkit/port";

export const RUN = "0123456789abcdef0123456789abcdef";

/** Real time, since the server is real; a seedless random that nothing here depends on. */
export function testHost(service = "shop"): Host {
  return {
    service,
    run: RUN,
    clock: realClock,
    random: { unit: () => 0.5, bytes: (length) => new Uint8Array(length) },
  };
}

export function message(seq: number, given: Partial<Outgoing> = {}): Outgoing {
  return outgoing(`m${seq}`, { seq, type: "order", body: Buffer.from(`body ${seq}`), ...given });
}

export function messages(count: number, given: Partial<Outgoing> = {}): readonly Outgoing[] {
  return Array.from({ length: count }, (_, i) => message(i + 1, given));
}

/** A scripted server and a transport on it. */
export class Stage implements AsyncDisposable {
  readonly server: ScriptedAmqp;
  readonly transport: Transport;

  private constructor(server: ScriptedAmqp, transport: Transport) {
    this.server = server;
    this.transport = transport;
  }

  static async open(
    script: AmqpScript = {},
    options: Partial<RabbitOptions> = {},
    server: AmqpServerOptions = {},
  ): Promise<Stage> {
    const scripted = await scriptedAmqp(script, server);
    return new Stage(scripted, rabbitmq({ urls: [scripted.url], ...options }).open(testHost()));
  }

  /** A sender with its topic declared. */
  async sender(plan: TopicPlan = ORDERS): Promise<Sending> {
    await this.transport.admin.declare([plan], signal());
    const sending = new Sending();
    sending.sender = await this.transport.openSender(sending, signal());
    return sending;
  }

  async receiver(given: { credit?: number; plan?: TopicPlan } = {}): Promise<Receiving> {
    const receiving = new Receiving();
    const subscription = { topic: given.plan ?? ORDERS, group: "billing", credit: given.credit ?? 100, consumer: "c1" };
    receiving.port = await this.transport.openReceiver(subscription, receiving, signal());
    return receiving;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A server that has fallen silent answers no close: its sockets go first.
    const ended = this.transport[Symbol.asyncDispose]();
    const timer = setTimeout(() => this.server.connections.forEach((c) => c.state !== "closed" && c.drop()), 300);
    await ended;
    clearTimeout(timer);
    await this.server[Symbol.asyncDispose]();
  }
}

export function signal(ms = 5_000): AbortSignal {
  return AbortSignal.timeout(ms);
}

/** Conditions that change only with an event. */
class Watched {
  readonly #waiting = new Set<() => void>();

  until(what: string, holds: () => boolean, ms = 5_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        reject(new Error(`${what} did not come within ${ms} ms; ${JSON.stringify(this)}`));
      }, ms);
      const check = (): void => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  protected changed(): void {
    for (const check of this.#waiting) check();
  }
}

/** A sender and all that it reports, in order. */
export class Sending extends Watched implements SenderEvents {
  sender!: Sender;
  /** `lost`, `blocked: why`, `unblocked`, `surfaced: what`, and `id kind` of each verdict. */
  readonly journal: string[] = [];
  readonly verdicts = new Map<string, Verdict[]>();
  readonly losses: TallyError[] = [];

  post(batch: readonly Outgoing[]): void {
    this.sender.send(0, batch, (index, verdict) => {
      const { id } = batch[index]!;
      this.verdicts.set(id, [...(this.verdicts.get(id) ?? []), verdict]);
      this.#note(`${id} ${verdict.kind}`);
    });
  }

  retired(error: TallyError): void {
    this.#note(`retired: ${error.code}`);
  }

  /** The kinds of all verdicts so far, by id, sorted as posted. */
  get kinds(): Readonly<Record<string, string>> {
    return Object.fromEntries([...this.verdicts].map(([id, all]) => [id, all.map((v) => v.kind).join("+")]));
  }

  verdict(id: string): Verdict | undefined {
    return this.verdicts.get(id)?.[0];
  }

  error(id: string): TallyError {
    const verdict = this.verdict(id);
    if (verdict === undefined || verdict.kind === "accepted") throw new Error(`${id} has no error: ${verdict?.kind}`);
    return verdict.error;
  }

  count(n: number): Promise<void> {
    return this.until(`${n} verdicts`, () => this.verdicts.size >= n);
  }

  blocked(reason: string): void {
    this.#note(`blocked: ${reason}`);
  }
  unblocked(): void {
    this.#note("unblocked");
  }
  lost(error: TallyError): void {
    this.losses.push(error);
    this.#note("lost");
  }
  surfaced(what: string): void {
    this.#note(`surfaced: ${what}`);
  }

  #note(what: string): void {
    this.journal.push(what);
    this.changed();
  }
}

export class Receiving extends Watched implements ReceiverEvents {
  port!: Awaited<ReturnType<Transport["openReceiver"]>>;
  readonly batches: (readonly Delivery[])[] = [];
  readonly lostWith: TallyError[] = [];
  readonly unsettledOnes: Delivery[] = [];

  get deliveries(): readonly Delivery[] {
    return this.batches.flat();
  }

  ack(...deliveries: readonly Delivery[]): void {
    this.port.settle(deliveries.map((delivery) => ({ kind: "ack", delivery })));
  }

  release(...deliveries: readonly Delivery[]): void {
    this.port.settle(deliveries.map((delivery) => ({ kind: "release", delivery, afterMs: 0 })));
  }

  async first(n: number): Promise<readonly Delivery[]> {
    await this.until(`${n} deliveries`, () => this.deliveries.length >= n);
    return this.deliveries.slice(0, n);
  }

  deliver(batch: readonly Delivery[]): void {
    this.batches.push(batch);
    this.changed();
  }
  revoking(): Promise<void> {
    return Promise.resolve();
  }
  revoked(): void {}
  unsettled(batch: readonly Delivery[]): void {
    this.unsettledOnes.push(...batch);
    this.changed();
  }
  gap(): void {}
  lost(error: TallyError): void {
    this.lostWith.push(error);
    this.changed();
  }
  surfaced(): void {}
}
