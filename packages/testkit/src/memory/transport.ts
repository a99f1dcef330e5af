import {
  type AdminPort,
  type MembersPort,
  OpenSessions,
  type Receiver,
  type ReceiverEvents,
  type Sender,
  type SenderEvents,
  type Subscription,
  TallyError,
  type Traits,
  type Transport,
} from "@tallymq/core/spi";
import type { FaultPoint } from "../faults/points.ts";
import type { Bench, Seat } from "./bench.ts";
import { MemoryReceiver } from "./receiver.ts";
import { MemorySender } from "./sender.ts";
import { MEMORY_TRAITS } from "./traits.ts";

type Opening = Extract<FaultPoint, "open" | "openSender" | "openReceiver" | "declare">;

/** One tally's way to the broker in this process. */
export class MemoryTransport implements Transport {
  readonly name: string;
  readonly traits: Traits = MEMORY_TRAITS;
  readonly admin: AdminPort;
  readonly halfMessages: null = null;
  readonly audit: null = null;
  readonly members: MembersPort;
  readonly #bench: Bench;
  readonly #sessions: OpenSessions = new OpenSessions();

  constructor(name: string, bench: Bench) {
    this.name = name;
    this.#bench = bench;
    this.members = {
      join: async (topic, group, card, seen, signal) => {
        signal.throwIfAborted();
        return sit(bench, `${topic}\0${group}`, { card, seen });
      },
    };
    this.admin = {
      declare: async (topics, signal) => {
        await this.#pass(["declare"], signal);
        for (const plan of topics) bench.engine.declare(plan);
      },
      // There is nothing to make: a group's queue keeps what is not due yet.
      declareDelays: async (_plan, _upToMs, signal) => signal.throwIfAborted(),
      backlog: async (topic, group, signal) => {
        signal.throwIfAborted();
        return bench.engine.group(topic, group).backlog;
      },
    };
  }

  async openSender(events: SenderEvents, signal: AbortSignal): Promise<Sender> {
    await this.#pass(["open", "openSender"], signal);
    return this.#sessions.add(new MemorySender(this.#bench, events, this.#sessions.ended));
  }

  async openReceiver(subscription: Subscription, events: ReceiverEvents, signal: AbortSignal): Promise<Receiver> {
    await this.#pass(["open", "openReceiver"], signal);
    return this.#sessions.add(new MemoryReceiver(this.#bench, subscription, events, this.#sessions.ended));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions[Symbol.asyncDispose]();
  }

  async #pass(points: readonly Opening[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#sessions.throwIfClosed();
    for (const point of points) {
      for (const fault of this.#bench.script.strike(point, null)) {
        if (fault.do === "hang") await aborted(signal);
        else
          throw (
            fault.error ?? new TallyError("unreachable", `${point} failed by the fault script`, { retryable: true })
          );
      }
    }
  }
}

function sit({ seats }: Bench, at: string, member: Seat): AsyncDisposable {
  const there = seats.get(at) ?? new Set();
  seats.set(at, there.add(member));
  for (const other of there) {
    if (other === member) continue;
    other.seen(member.card);
    member.seen(other.card);
  }
  return {
    async [Symbol.asyncDispose]() {
      there.delete(member);
      if (there.size === 0 && seats.get(at) === there) seats.delete(at);
    },
  };
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}
