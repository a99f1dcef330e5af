// One machine: the lease, the rows on their way, and the waits between them; its parts share all of that.
import type { Timer } from "../clock.ts";
import { TallyError } from "../error.ts";
import { fullJitter } from "../backoff.ts";
import { failpoint } from "../failpoints.ts";
import type { Runtime } from "../runtime.ts";
import type { Proof } from "../port/sending.ts";
import type { GivenBack, OutboxLease, OutboxStore, Row } from "../stores.ts";
import { outlived } from "./age.ts";

/** How the publisher's side of a relayed row ends; it never gives up by itself. */
export type RelayOutcome =
  | { readonly is: "accepted"; readonly proof: Proof }
  | { readonly is: "refused"; readonly error: TallyError }
  /** No copy of it is on the wire; if doubtful, one was. */
  | { readonly is: "withdrawn"; readonly doubtful: boolean };

export interface RelayOptions {
  readonly runtime: Runtime;
  readonly store: OutboxStore;
  /** Rows on their way at the same time, at most. */
  readonly most: number;
  /** Sends a row with the same tracking as a publish, ahead of those that wait; `done` is called once. */
  send(row: Row, done: (outcome: RelayOutcome) => void): void;
  /** Takes back rows that have no copy on the wire: their `done` says `withdrawn`. @param slot Those of one; null: all. */
  withdraw(slot: number | null): void;
  /** How often the fence has been read from the store. */
  readings(): number;
  /** These rows are gone from the store; `readings` as it was when that was asked for. */
  ended(rows: readonly Row[], readings: number): void;
  /** Nothing moves any more: there are no rows that may be sent, or this process is not the one that sends them. */
  rests(): void;
}

/** Rows of other processes on the same store: nobody tells us of them. */
const POLL_MS = 1_000;
/** Rows on their way hold no more than about this; one row may be larger. */
export const OUT_BYTES: number = 32 * 1024 * 1024;
/** How long a row that the broker has may wait for others to be deleted with. */
const END_WITHIN_MS = 10;
/** A relay whose session is unhealthy for so long gives up its lease: another process may have a healthy one. */
const GIVE_UP_MS = 5_000;

/**
 * Sends stored rows, in their order, one key after another, as long as this process holds the lease.
 *
 * - *off*: the session cannot be used; no lease is held or asked for.
 * - *asking*: the session can be used; the store has not granted the lease yet.
 * - *relaying*: rows are taken while there is room, and ended when the broker has accepted them.
 * - *resting*: nothing to take, whatever is still on its way; woken by a spill, or looks again after a second.
 * - *fading*: the session cannot be used any more; the lease is kept for five seconds in case it comes back.
 */
export class Relay {
  readonly #o: RelayOptions;
  #state: "off" | "asking" | "relaying" | "resting" | "fading" | "closed" = "off";
  /** The session can be used. */
  #usable = false;
  #lease: OutboxLease | null = null;
  #asking: AbortController | null = null;
  #timer: Timer | null = null;
  #tries = 0;
  readonly #out: Map<number, Row> = new Map();
  #outBytes = 0;
  /** The last look at the store found rows, or some have been put since. */
  #flows = false;
  /** By slot: rows behind a row that is being parked. Given back when it is, for the store to hold them there. */
  readonly #behind: Map<number, GivenBack[]> = new Map();
  #ended: Row[] = [];
  #proofs: { readonly place: number; readonly proof: Proof }[] = [];
  /** For {@link #endAll}. */
  #ending: Timer | null = null;
  /** Withdrawn since the lease was let go: told to the store with it. */
  #withdrawn: GivenBack[] = [];
  #taking = false;
  #limits: ReadonlyMap<string, number> = new Map();
  #finishing = false;
  readonly #work: Set<Promise<unknown>> = new Set();

  constructor(options: RelayOptions) {
    this.#o = options;
  }

  get state(): string {
    return this.#state;
  }

  /** Whether this process is the one that relays. */
  get holds(): boolean {
    return this.#lease !== null;
  }

  /** Rows are on their way, or about to be: there are some, as far as anyone knows, and the store has been asked for them. */
  get moves(): boolean {
    return this.#lease !== null && (this.#out.size > 0 || (this.#taking && this.#flows));
  }

  /** The session became usable, or stopped being so. */
  usable(is: boolean): void {
    this.#usable = is;
    if (is && this.#state === "off") this.#ask();
    else if (is && this.#state === "fading") this.#relay();
    else if (!is && this.#state === "asking") this.#off();
    else if (!is && (this.#state === "relaying" || this.#state === "resting")) {
      this.#state = "fading";
      this.#arm(GIVE_UP_MS, () => this.#giveUp());
    }
  }

  /** There may be rows. */
  wake(): void {
    if (this.#state !== "resting") return;
    this.#flows = true;
    this.#relay();
  }

  /** Of these topics so many rows may be on their way, at most: the broker does not take them, and others must not wait for that. */
  limit(topics: ReadonlyMap<string, number>): void {
    this.#limits = topics;
    this.#lease?.limit(topics);
    this.wake();
  }

  /** Takes no more rows; those on their way come to their end. */
  finish(): void {
    this.#finishing = true;
  }

  async close(): Promise<void> {
    this.#off();
    this.#state = "closed";
    while (this.#work.size > 0) await Promise.allSettled(this.#work);
  }

  #ask(): void {
    this.#state = "asking";
    const asking = new AbortController();
    this.#asking = asking;
    const { store, runtime } = this.#o;
    const lost = (error: TallyError): void => {
      if (this.#asking !== asking) return;
      runtime.events.emit({ type: "surfaced", what: "outbox", text: `the relay's lease was lost: ${error.message}` });
      this.#off();
      this.usable(this.#usable);
    };
    this.#track(
      store.lease([runtime.transport.name], lost, asking.signal).then(
        async (lease) => {
          // Given up while the store was granting it.
          if (this.#asking !== asking) return await lease[Symbol.asyncDispose]();
          this.#lease = lease;
          lease.limit(this.#limits);
          this.#tries = 0;
          runtime.events.emit({ type: "relay-started", what: "outbox" });
          this.#relay();
        },
        (thrown: unknown) => {
          if (this.#asking !== asking || asking.signal.aborted) return;
          runtime.events.emit({
            type: "surfaced",
            what: "outbox",
            text: `no lease: ${TallyError.is(thrown) ? thrown.message : "the store failed"}`,
          });
          this.#arm(Math.max(1, fullJitter(runtime.reconnect, ++this.#tries, runtime.random)), () => this.#ask());
        },
      ),
    );
  }

  #relay(): void {
    this.#cancel();
    this.#state = "relaying";
    this.#take();
  }

  /** Takes while there is room for a fair batch: a row at a time would cost the store a query each. */
  #take(): void {
    const lease = this.#lease;
    const room = this.#o.most - this.#out.size;
    if (
      this.#finishing ||
      this.#state !== "relaying" ||
      lease === null ||
      this.#taking ||
      room < Math.ceil(this.#o.most / 4) ||
      this.#outBytes >= OUT_BYTES
    )
      return;
    this.#taking = true;
    this.#track(
      lease.take(room).then(
        (rows) => {
          this.#taking = false;
          this.#flows = rows.length > 0;
          if (this.#lease !== lease) return; // the store gives them to the next holder
          if (rows.length > 0) failpoint("relay.taken");
          const wall = this.#o.runtime.clock.wall();
          for (const row of rows) {
            const behind = row.slot === null ? undefined : this.#behind.get(row.slot);
            const old = outlived(row, wall);
            if (behind !== undefined) behind.push(row);
            else if (old === null) this.#send(lease, row);
            else this.#park(lease, row, old);
          }
          if (rows.length > 0) return this.#take();
          if (this.#state === "relaying") {
            this.#state = "resting";
            this.#arm(POLL_MS, () => this.#relay());
            if (this.#out.size === 0) this.#o.rests();
          }
        },
        (thrown: unknown) => this.#failed(lease, thrown),
      ),
    );
  }

  #send(lease: OutboxLease, row: Row): void {
    this.#out.set(row.place, row);
    this.#outBytes += row.message.body.byteLength;
    this.#o.send(row, (outcome) => {
      this.#out.delete(row.place);
      this.#outBytes -= row.message.body.byteLength;
      if (this.#lease !== lease) {
        // The row is another holder's by now, and a copy of it will be a duplicate, with the same id.
        if (outcome.is === "withdrawn") this.#withdrawn.push({ place: row.place, doubtful: outcome.doubtful });
        return;
      }
      if (outcome.is === "accepted") {
        failpoint("relay.accepted");
        this.#end(lease, row, outcome.proof);
      } else if (outcome.is === "refused") this.#park(lease, row, outcome.error);
      else {
        const back = { place: row.place, doubtful: outcome.doubtful };
        const behind = row.slot === null ? undefined : this.#behind.get(row.slot);
        if (behind !== undefined) behind.push(back);
        else this.#track(lease.giveBack([back]).catch((thrown: unknown) => this.#failed(lease, thrown)));
      }
      this.#take();
    });
  }

  /**
   * One deletion for what a quarter of the window or ten milliseconds brought, and at once when nothing is on its way any more: a
   * commit of the store's costs as much as a hundred rows in it. Killed meanwhile, all of that is sent again, with the same ids.
   */
  #end(lease: OutboxLease, row: Row, proof: Proof): void {
    this.#proofs.push({ place: row.place, proof });
    const count = this.#ended.push(row);
    if (count >= this.#o.most / 4 || this.#out.size === 0) void this.#endAll(lease);
    else if (count === 1) this.#ending = this.#o.runtime.clock.after(END_WITHIN_MS, () => void this.#endAll(lease));
  }

  #endAll(lease: OutboxLease): Promise<void> {
    this.#ending?.cancel();
    this.#ending = null;
    const [ended, places] = [this.#ended, this.#proofs];
    [this.#ended, this.#proofs] = [[], []];
    const readings = this.#o.readings();
    const ending = lease.end(places).then(
      () => {
        failpoint("relay.ended");
        this.#o.ended(ended, readings);
        this.#take();
      },
      (thrown: unknown) => this.#failed(lease, thrown),
    );
    this.#track(ending);
    return ending;
  }

  /**
   * Kept for a person; its ordered key waits behind it, other keys do not. What was taken together with it is behind it as
   * well: it is taken back, and kept out of the store's hands until the row is parked there, or it would be given again.
   */
  #park(lease: OutboxLease, row: Row, error: TallyError): void {
    const { slot } = row;
    const { topic, id } = row.message;
    const behind: GivenBack[] = [];
    if (slot !== null && !this.#behind.has(slot)) {
      this.#behind.set(slot, behind);
      this.#o.withdraw(slot);
    }
    this.#o.runtime.events.emit({ type: "parked", topic, id, code: error.code });
    const parked = async (): Promise<void> => {
      try {
        await lease.park(row.place, error);
        if (behind.length > 0) await lease.giveBack(behind);
      } finally {
        if (slot !== null && this.#behind.get(slot) === behind) this.#behind.delete(slot);
      }
    };
    this.#track(parked().catch((thrown: unknown) => this.#failed(lease, thrown)));
  }

  /** The store does not answer as it should: give the lease back and ask for it anew, after a while. */
  #failed(lease: OutboxLease, thrown: unknown): void {
    if (this.#lease !== lease) return;
    const text = TallyError.is(thrown) ? thrown.message : "the store failed";
    this.#o.runtime.events.emit({ type: "surfaced", what: "outbox", text: `the relay rests: ${text}` });
    this.#drop();
    this.#state = "asking";
    const { runtime } = this.#o;
    this.#arm(Math.max(1, fullJitter(runtime.reconnect, ++this.#tries, runtime.random)), () => this.#ask());
  }

  #giveUp(): void {
    this.#o.runtime.events.emit({
      type: "surfaced",
      what: "outbox",
      text: "the relay gave up its lease: its session is not usable",
    });
    this.#off();
  }

  #off(): void {
    this.#drop();
    if (this.#state !== "closed") this.#state = "off";
  }

  #drop(): void {
    this.#cancel();
    this.#asking?.abort();
    this.#asking = null;
    this.#taking = false;
    const lease = this.#lease;
    this.#lease = null;
    this.#behind.clear();
    this.#withdrawn = [];
    this.#o.withdraw(null);
    this.#o.rests();
    if (lease === null) return;
    this.#o.runtime.events.emit({ type: "relay-stopped", what: "outbox" });
    // What the broker has by now, and what has no copy there, is told before the lease is over.
    const telling: Promise<void>[] = [];
    if (this.#ended.length > 0) telling.push(this.#endAll(lease));
    if (this.#withdrawn.length > 0) telling.push(lease.giveBack(this.#withdrawn));
    const over = (): PromiseLike<void> => lease[Symbol.asyncDispose]();
    this.#track(telling.length === 0 ? Promise.resolve(over()) : Promise.allSettled(telling).then(over));
  }

  #arm(ms: number, fn: () => void): void {
    this.#cancel();
    this.#timer = this.#o.runtime.clock.after(ms, fn);
  }

  #cancel(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #track(work: Promise<unknown>): void {
    const settled = work.catch(() => {}).finally(() => this.#work.delete(settled));
    this.#work.add(settled);
  }
}
