import type {
  Delivery,
  Outgoing,
  Receiver,
  ReceiverEvents,
  Sender,
  SenderEvents,
  TallyError,
  TopicPlan,
  Transport,
  Verdict,
} from "@tallymq/core/spi";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { connect, type Channel, type ChannelModel } from "amqplib";
import { realClock, realRandom } from "@tallymq/testkit";

export const RUN = "0123456789abcdef0123456789abcdef";

export function signal(ms = 30_000): AbortSignal {
  return AbortSignal.timeout(ms);
}

export function openTransport(url: string, options: Partial<RabbitOptions> = {}): Transport {
  return rabbitmq({ urls: [url], ...options }).open({
    service: "shop",
    run: RUN,
    clock: realClock,
    random: realRandom,
  });
}

export function plan(name: string, given: Partial<TopicPlan> = {}): TopicPlan {
  return { name, ordered: false, groups: ["g"], ...given };
}

export function message(topic: TopicPlan, seq: number, given: Partial<Outgoing> = {}): Outgoing {
  return {
    id: `m${seq}`,
    producer: "shop",
    run: RUN,
    seq,
    topic: topic.name,
    key: null,
    ordered: topic.ordered,
    type: null,
    contentType: "text/plain",
    contentEncoding: null,
    time: 1_700_000_000_000,
    attempt: 1,
    correlationId: null,
    causationId: null,
    headers: {},
    body: Buffer.from(`body ${seq}`),
    native: null,
    group: null,
    delayMs: 0,
    ...given,
  };
}

export function messages(topic: TopicPlan, count: number, from = 1): readonly Outgoing[] {
  return Array.from({ length: count }, (_, i) => message(topic, from + i));
}

/** Conditions that change only with an event. */
class Watched {
  readonly #waiting = new Set<() => void>();

  until(what: string, holds: () => boolean, ms = 30_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        reject(new Error(`${what} did not come within ${ms} ms`));
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

export class Sending extends Watched implements SenderEvents {
  readonly verdicts = new Map<string, Verdict>();
  readonly losses: TallyError[] = [];
  readonly journal: string[] = [];
  #sender!: Sender;

  static async open(transport: Transport, topic: TopicPlan): Promise<Sending> {
    await transport.admin.declare([topic], signal());
    const sending = new Sending();
    sending.#sender = await transport.openSender(sending, signal());
    return sending;
  }

  retired(): void {
    throw new Error("a RabbitMQ session does not retire by itself");
  }

  post(batch: readonly Outgoing[]): void {
    this.#sender.send(0, batch, (index, verdict) => {
      const { id } = batch[index]!;
      if (this.verdicts.has(id)) throw new Error(`two verdicts for ${id}`);
      this.verdicts.set(id, verdict);
      this.changed();
    });
  }

  /** Resolves when each of these has a verdict, with the kinds in their order. */
  async kinds(batch: readonly Outgoing[], ms?: number): Promise<readonly string[]> {
    await this.until(`verdicts for ${batch.length}`, () => batch.every(({ id }) => this.verdicts.has(id)), ms);
    return batch.map(({ id }) => this.verdicts.get(id)!.kind);
  }

  async send(batch: readonly Outgoing[], ms?: number): Promise<readonly string[]> {
    this.post(batch);
    return await this.kinds(batch, ms);
  }

  error(id: string): TallyError {
    const verdict = this.verdicts.get(id);
    if (verdict === undefined || verdict.kind === "accepted") throw new Error(`${id} has no error: ${verdict?.kind}`);
    return verdict.error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sender[Symbol.asyncDispose]();
  }

  blocked(reason: string): void {
    this.journal.push(`blocked: ${reason}`);
    this.changed();
  }
  unblocked(): void {
    this.journal.push("unblocked");
    this.changed();
  }
  lost(error: TallyError): void {
    this.losses.push(error);
    this.journal.push("lost");
    this.changed();
  }
  surfaced(what: string): void {
    this.journal.push(`surfaced: ${what}`);
  }
}

export class Receiving extends Watched implements ReceiverEvents {
  readonly deliveries: Delivery[] = [];
  readonly losses: TallyError[] = [];
  port!: Receiver;

  static async open(
    transport: Transport,
    topic: TopicPlan,
    given: { credit?: number; group?: string; consumer?: string } = {},
  ): Promise<Receiving> {
    const receiving = new Receiving();
    receiving.port = await transport.openReceiver(
      { topic, group: given.group ?? "g", credit: given.credit ?? 100, consumer: given.consumer ?? "c" },
      receiving,
      signal(),
    );
    return receiving;
  }

  get ids(): readonly (string | null)[] {
    return this.deliveries.map((d) => d.message.id);
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
    this.deliveries.push(...batch);
    this.changed();
  }
  revoking(): Promise<void> {
    return Promise.resolve();
  }
  revoked(): void {}
  unsettled(): void {}
  gap(): void {}
  lost(error: TallyError): void {
    this.losses.push(error);
    this.changed();
  }
  surfaced(): void {}
}

/** Plain amqplib, for what an outsider does to the broker. */
export async function outsider(url: string): Promise<{ connection: ChannelModel; channel: Channel } & AsyncDisposable> {
  const connection = await connect(url);
  connection.on("error", () => {});
  const channel = await connection.createChannel();
  channel.on("error", () => {});
  return { connection, channel, [Symbol.asyncDispose]: () => connection.close().catch(() => {}) };
}
