import { appendFileSync } from "node:fs";
import type { Broker } from "@tallymq/core";
import type { HalfMessagePort, Transport } from "@tallymq/core/spi";

/**
 * Where a transaction stands when its process is killed.
 * - `work`: the broker has the half message; no decision is recorded. Its work is done or not.
 * - `commit`: the decision is recorded; the broker has not been told.
 * - `check`: the broker has asked, and its answer has not left.
 */
export const WINDOWS = ["work", "commit", "check"] as const;
export type Window = (typeof WINDOWS)[number];

/**
 * Holds transactions in one window for ever, each with its line in a file: whoever kills the process finds them all there.
 * Others pass.
 */
export class Gate {
  readonly #window: Window | null;
  readonly #file: string;
  readonly #held: Set<string> = new Set();

  /** @param window Null: it is open. */
  constructor(window: Window | null, file: string) {
    this.#window = window;
    this.#file = file;
  }

  get held(): number {
    return this.#held.size;
  }

  /** Never settles in the window of this gate. */
  pass(window: Window, id: string): Promise<void> {
    if (window !== this.#window) return Promise.resolve();
    if (!this.#held.has(id)) appendFileSync(this.#file, `${window} ${id}\n`);
    this.#held.add(id);
    return new Promise(() => {});
  }
}

/** The broker as it is, with a gate before each decision and each answer. */
export function gated(broker: Broker, gate: Gate): Broker {
  return { name: broker.name, open: (host) => gatedTransport(broker.open(host), gate) };
}

function gatedTransport(inner: Transport, gate: Gate): Transport {
  return {
    name: inner.name,
    traits: inner.traits,
    admin: inner.admin,
    members: inner.members,
    audit: inner.audit,
    halfMessages: inner.halfMessages === null ? null : gatedHalves(inner.halfMessages, gate),
    openSender: (events, signal) => inner.openSender(events, signal),
    openReceiver: (subscription, events, signal) => inner.openReceiver(subscription, events, signal),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
}

function gatedHalves(inner: HalfMessagePort, gate: Gate): HalfMessagePort {
  return {
    refuses: (topic) => inner.refuses(topic),
    delivered: (message, signal) => inner.delivered(message, signal),
    asksFor: (signal) => inner.asksFor(signal),
    dropped: (signal) => inner.dropped(signal),
    async open(topics, events, signal) {
      const session = await inner.open(
        topics,
        {
          lost: (error) => events.lost(error),
          asked: (name, message, answer) =>
            events.asked(name, message, (decision) => {
              if (decision === "unknown") return answer(decision);
              void gate.pass("check", message.id ?? "").then(() => answer(decision));
            }),
        },
        signal,
      );
      return {
        add: (topic, until) => session.add(topic, until),
        prepare: (name, message) => session.prepare(name, message),
        async decide(message, handle, decision) {
          await gate.pass("commit", message.id);
          await session.decide(message, handle, decision);
        },
        [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
      };
    },
  };
}
