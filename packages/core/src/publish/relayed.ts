import type { Outgoing } from "../message.ts";
import type { RelayOutcome } from "../outbox/relay.ts";
import type { TopicPlan } from "../port/topic-plan.ts";
import type { Runtime } from "../runtime.ts";
import type { OutboxStore, Row } from "../stores.ts";
import { Entry } from "./entry.ts";
import { asError } from "./rejections.ts";
import type { TopicLine } from "./topic-line.ts";
import type { Topics } from "./topics.ts";
import { ENDED, next } from "./transitions.ts";
import type { Turns } from "./turns.ts";

export interface RelayedOptions {
  readonly runtime: Runtime;
  readonly topics: Topics;
  readonly turns: Turns;
  /** It has to come to its end from now on. */
  begin(entry: Entry): void;
  /** Its state is ENDED, and its relay has been told. */
  end(entry: Entry): void;
}

/** Rows without a key that go one way, as far as the broker has several. */
const TOGETHER = 256;

/** Rows of the stores on their way to the broker: tracked like any message, without a caller, and never given up. */
export class Relayed {
  readonly #o: RelayedOptions;
  readonly #stores: Map<Entry, OutboxStore> = new Map();
  #lastPlan: TopicPlan | null = null;

  constructor(options: RelayedOptions) {
    this.#o = options;
  }

  get entries(): Iterable<Entry> {
    return this.#stores.keys();
  }

  /** @param done Called once, with its end. */
  send(store: OutboxStore, row: Row, done: (outcome: RelayOutcome) => void): void {
    const { runtime, topics, turns } = this.#o;
    const { message } = row;
    // Counted from `publish()`, by the wall clock: the broker keeps it for what is left.
    const delayMs = message.delayMs === 0 ? 0 : leftOf(message, runtime.clock.wall());
    const plan = this.#plan(message);
    let line: TopicLine;
    try {
      line = delayMs > 0 ? topics.delayed(plan, delayMs) : topics.line(plan);
    } catch (thrown) {
      return done({ is: "refused", error: asError(thrown, message.id) });
    }
    const entry = new Entry(line, delayMs === message.delayMs ? message : { ...message, delayMs });
    entry.relayed = done;
    entry.validated = true;
    entry.doubted = row.doubtful;
    entry.kept = keptOf(row);
    entry.slot = row.slot;
    this.#stores.set(entry, store);
    this.#o.begin(entry);
    turns.enterFirst(entry);
  }

  /**
   * The lease is gone, or a row of this slot is refused: what has no copy out is another relay's business, or has to wait
   * behind that row. What has one is ended by its verdict.
   */
  withdrawAll(store: OutboxStore, slot: number | null): void {
    for (const [entry, of] of this.#stores) {
      if (of !== store || entry.open > 0 || entry.state === ENDED || (slot !== null && entry.slot !== slot)) continue;
      this.withdraw(entry);
    }
  }

  /** Gives a row back into the store; it has no copy on the wire. */
  withdraw(entry: Entry): void {
    entry.relayed?.({ is: "withdrawn", doubtful: entry.doubted });
    entry.state = next(entry.state, "withdrawnLast");
    this.#o.end(entry);
  }

  /** It has come to its end. */
  forget(entry: Entry): void {
    this.#stores.delete(entry);
  }

  /** The last one again: rows of one topic come together. */
  #plan({ topic: name, ordered }: Outgoing): TopicPlan {
    const last = this.#lastPlan;
    if (last !== null && last.name === name && last.ordered === ordered) return last;
    return (this.#lastPlan = { name, ordered, groups: [] });
  }
}

/**
 * Where a row goes. A copy in doubt went somewhere, and the next one goes there too. What else has no key goes by its place in
 * the store, many rows in one direction: should this process die while the row is on its way, the next one sends it to where
 * this one did, without a word of it in the store.
 */
function keptOf({ doubtful, lane, message, place }: Row): number | null {
  if (doubtful && lane !== null) return lane;
  return message.key === null ? Math.floor(place / TOGETHER) : null;
}

function leftOf({ delayMs, time }: Outgoing, wall: number): number {
  return Math.max(0, Math.min(delayMs, delayMs + time - wall));
}
