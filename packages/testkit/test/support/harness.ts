import type {
  Broker,
  Clock,
  Delivery,
  Host,
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
import { seededRandom, virtualClock } from "@tallymq/testkit";
import { ORDERS, outgoing } from "@tallymq/testkit/port";

export { ORDERS } from "@tallymq/testkit/port";

export const NEVER: AbortSignal = new AbortController().signal;

export function open(broker: Broker, clock: Clock = virtualClock()): Transport {
  const host: Host = { service: "shop", run: "r", clock, random: seededRandom(1) };
  return broker.open(host);
}

export function message(id: string, over: Partial<Outgoing> = {}): Outgoing {
  return outgoing(id, { run: "r", body: new TextEncoder().encode(`body of ${id}`), ...over });
}

export const messages = (n: number, prefix = "m"): Outgoing[] =>
  Array.from({ length: n }, (_, i) => message(`${prefix}${i + 1}`));
export const text = (body: Uint8Array): string => new TextDecoder().decode(body);

/** A sender that writes down what happened to it, in order: `"m1 accepted"`, `"lost session-lost"`. */
export interface TestSender {
  readonly sender: Sender;
  readonly seen: string[];
  readonly verdicts: Map<string, Verdict[]>;
  send(...batch: readonly Outgoing[]): void;
  /** Resolves when each of these has a verdict. */
  all(batch: readonly Outgoing[]): Promise<void>;
}

export async function sender(transport: Transport): Promise<TestSender> {
  const seen: string[] = [];
  const verdicts = new Map<string, Verdict[]>();
  const events: SenderEvents = {
    blocked: (reason) => seen.push(`blocked ${reason}`),
    unblocked: () => seen.push("unblocked"),
    retired: (error) => seen.push(`retired ${error.code}`),
    lost: (error) => seen.push(`lost ${error.code}`),
    surfaced: (what) => seen.push(`surfaced ${what}`),
  };
  const session = await transport.openSender(events, NEVER);
  return {
    sender: session,
    seen,
    verdicts,
    send(...batch) {
      session.send(0, batch, (i, verdict) => {
        const { id } = batch[i]!;
        seen.push(`${id} ${verdict.kind}`);
        verdicts.set(id, [...(verdicts.get(id) ?? []), verdict]);
      });
    },
    all: (batch) => until(() => batch.every((m) => verdicts.has(m.id))),
  };
}

export interface TestReceiver {
  readonly receiver: Receiver;
  readonly got: Delivery[];
  readonly seen: string[];
  readonly ids: () => string[];
  ack(...deliveries: readonly Delivery[]): void;
  release(delivery: Delivery, afterMs?: number): void;
}

export interface ReceiverSetUp {
  readonly topic?: TopicPlan;
  readonly group?: string;
  readonly credit?: number;
  readonly onDeliver?: (batch: readonly Delivery[], self: TestReceiver) => void;
}

export async function receiver(transport: Transport, setUp: ReceiverSetUp = {}): Promise<TestReceiver> {
  const got: Delivery[] = [];
  const seen: string[] = [];
  const early: (readonly Delivery[])[] = [];
  let self: TestReceiver | null = null;
  const events: ReceiverEvents = {
    deliver(batch) {
      got.push(...batch);
      if (self === null) early.push(batch);
      else setUp.onDeliver?.(batch, self);
    },
    revoking: async () => {},
    revoked: () => {},
    unsettled: (batch) => seen.push(`unsettled ${batch.map((d) => d.message.id).join()}`),
    gap: () => {},
    lost: (error: TallyError) => seen.push(`lost ${error.code}`),
    surfaced: (what) => seen.push(`surfaced ${what}`),
  };
  const subscription = {
    topic: setUp.topic ?? ORDERS,
    group: setUp.group ?? "billing",
    credit: setUp.credit ?? 100,
    consumer: "c",
  };
  const session = await transport.openReceiver(subscription, events, NEVER);
  self = {
    receiver: session,
    got,
    seen,
    ids: () => got.map((d) => d.message.id ?? "?"),
    ack: (...deliveries) => session.settle(deliveries.map((delivery) => ({ kind: "ack", delivery }))),
    release: (delivery, afterMs = 0) => session.settle([{ kind: "release", delivery, afterMs }]),
  };
  for (const batch of early) setUp.onDeliver?.(batch, self);
  return self;
}

/** Polls in real time, with a deadline that fails. */
export async function until(condition: () => boolean, withinMs = 8_000): Promise<void> {
  const limit = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > limit) throw new Error(`not reached within ${withinMs} ms: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Lets everything that needs no timer happen. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

export async function code(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === "function" ? work() : work);
    return "no error";
  } catch (thrown) {
    return String((thrown as { code?: unknown }).code ?? thrown);
  }
}
