import { TallyError } from "../error.ts";
import { slotOf } from "../outbox/fence.ts";
import type { OutboxMode, SpillPolicy } from "../outbox/options.ts";
import { Outbox } from "../outbox/outbox.ts";
import type { RelayOutcome } from "../outbox/relay.ts";
import type { Runtime } from "../runtime.ts";
import type { Proof } from "../spi.ts";
import type { OutboxStore, PutResult, Row } from "../stores.ts";
import { Entry } from "./entry.ts";
import type { Wire } from "./lanes.ts";
import { asError } from "./rejections.ts";
import type { Senders } from "./senders.ts";
import type { TopicLine, Topics } from "./topics.ts";
import { BACKOFF, ENDED, next, OVERDUE, WAITING, WIRE } from "./transitions.ts";

/** An open store, and when it takes over. */
export interface Spill {
  readonly store: OutboxStore;
  readonly policy: SpillPolicy;
}

export interface SpillingOptions {
  readonly runtime: Runtime;
  readonly spill: Spill;
  /** Copies of a message that could not be stored have so long for their verdicts, in milliseconds. */
  readonly verdictWithin: number;
  readonly senders: Senders;
  readonly wire: Wire;
  readonly topics: Topics;
  /** Every message between its call and its end, except those that only wait for the window. */
  waiting(): Iterable<Entry>;
  /** Its turn has come after all: `takes` is asked anew. */
  route(entry: Entry): void;
  arm(entry: Entry): void;
  reject(entry: Entry): void;
  end(entry: Entry): void;
  /** Into the window, ahead of those that wait. */
  relay(entry: Entry): void;
}

/** What a row in the outbox vouches for. */
const STORED: Proof = Object.freeze({ routed: "unverified", persisted: "yes", replicated: "unverified" });

/** Between publisher and outbox: messages that are to be stored, and rows that are on their way to the broker. */
export class Spilling {
  readonly #o: SpillingOptions;
  readonly #outbox: Outbox<Entry>;
  readonly #relayed: Set<Entry> = new Set();

  constructor(options: SpillingOptions) {
    this.#o = options;
    this.#outbox = new Outbox<Entry>({
      runtime: options.runtime,
      ...options.spill,
      spill: () => this.#spillAll(false),
      put: (entry, result) => this.#put(entry, result),
      again: (entry) => {
        if (entry.state === WAITING) options.route(entry);
      },
      send: (row, done) => this.#relay(row, done),
      withdraw: (slot) => this.#withdraw(slot),
    });
  }

  /** Before anything else is done with a new message. */
  fence(entry: Entry, topic: { readonly outbox: OutboxMode; readonly dedupeFor: number }): void {
    const { message } = entry;
    entry.mode = topic.outbox;
    entry.dedupeForMs = topic.dedupeFor;
    if (entry.mode !== "off" && message.ordered)
      entry.slot = slotOf(this.#o.runtime.transport.name, message.topic, message.key ?? "");
  }

  /** Whether the outbox keeps a message that is ready to go: stores it now, or lets it wait for the rows of its key. */
  takes(entry: Entry): boolean {
    if (entry.relayed !== null) return false;
    const turn = this.#outbox.turn(entry);
    if (turn === "store") this.#spill(entry);
    return turn !== "direct";
  }

  /** The session can be used when it is open, read by the broker, and none of its lanes is silent. */
  health(): void {
    const session = this.#o.senders.current;
    this.#outbox.usable(session !== null && !session.blocked && !this.#o.wire.silent);
  }

  /** A relayed row has come to its end. */
  forget(entry: Entry): void {
    this.#relayed.delete(entry);
  }

  /** The relay takes no more rows. */
  finish(): void {
    this.#outbox.finish();
  }

  /** Stores what has not come to its end, if it may be stored. Resolves when the store has answered. */
  async close(): Promise<void> {
    this.#spillAll(true);
    await this.#outbox.close();
  }

  /**
   * Everything that waits; and what a blocked broker has not read, as far as anyone can know.
   * @param wire What is on the wire as well: its time is up.
   */
  #spillAll(wire: boolean): void {
    for (const entry of this.#o.waiting()) {
      const { state } = entry;
      if (entry.mode === "off" || entry.relayed !== null) continue;
      const unread = state === WIRE && (wire || entry.batch?.session.blocked === true);
      if (state === WAITING || state === BACKOFF || state === OVERDUE || unread) this.#spill(entry);
    }
    // A silent lane that has nothing left to send is probed by what comes next.
    this.health();
  }

  #spill(entry: Entry): void {
    const { message, slot, lane } = entry;
    if (entry.batch !== null) this.#o.wire.forget(entry);
    entry.queue?.remove(entry);
    entry.state = next(entry.state, "spill");
    this.#o.arm(entry);
    this.#outbox.store(entry, {
      destination: this.#o.runtime.transport.name,
      slot,
      message: { ...message },
      doubtful: entry.doubted || entry.open > 0,
      lane: lane < 0 ? null : lane,
      dedupeForMs: entry.dedupeForMs,
    });
  }

  #put(entry: Entry, result: PutResult | TallyError): void {
    if (entry.state === ENDED) return; // accepted meanwhile: the row will be a duplicate, with the same id
    const { topic, id } = entry.message;
    const { runtime } = this.#o;
    if (result === "stored" || result === "same") {
      entry.state = next(entry.state, "stored");
      runtime.events.emit({ type: "spilled", topic, id, doubtful: entry.doubted || entry.open > 0 });
      entry.caller?.accept(STORED, "stored");
      if (entry.joined !== null) for (const caller of entry.joined) caller.accept(STORED, "stored");
      return this.#o.end(entry);
    }
    entry.lastError = unstored(id, topic, result);
    entry.state = next(entry.state, entry.open === 0 ? "unstoredLast" : "unstored");
    if (entry.state === ENDED) return this.#o.reject(entry);
    entry.actAt = runtime.clock.now() + this.#o.verdictWithin;
    this.#o.arm(entry);
  }

  /** A stored row on its way to the broker: tracked like any message, without a caller, and never given up. */
  #relay(row: Row, done: (outcome: RelayOutcome) => void): void {
    const { topic: name, ordered } = row.message;
    let line: TopicLine;
    try {
      line = this.#o.topics.line({ name, ordered, groups: [] });
    } catch (thrown) {
      return done({ is: "refused", error: asError(thrown, row.message.id) });
    }
    const entry = new Entry(line, { ...row.message });
    entry.relayed = done;
    entry.validated = true;
    entry.doubted = row.doubtful;
    entry.lane = row.lane ?? -1;
    entry.slot = row.slot;
    this.#relayed.add(entry);
    this.#o.relay(entry);
  }

  /**
   * The lease is gone, or a row of this slot is refused: what has no copy out is another relay's business, or has to wait
   * behind that row. What has one is ended by its verdict.
   */
  #withdraw(slot: number | null): void {
    for (const entry of this.#relayed) {
      if (entry.open > 0 || entry.state === ENDED || (slot !== null && entry.slot !== slot)) continue;
      entry.relayed?.({ is: "withdrawn" });
      entry.state = next(entry.state, "withdrawnLast");
      this.#o.end(entry);
    }
  }
}

function unstored(id: string, topic: string, result: "conflict" | "full" | TallyError): TallyError {
  if (TallyError.is(result)) return result;
  if (result === "conflict")
    return new TallyError("conflict", `${id} is in the outbox of ${topic} with another body or key`, { id });
  return new TallyError(
    "store-full",
    `the outbox is at its bound and the broker cannot be reached: ${id} was not stored`,
    { id, retryable: true },
  );
}
