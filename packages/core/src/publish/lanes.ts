import type { Outgoing } from "../message.ts";
import type { Entry } from "./entry.ts";
import { Queue } from "./queue.ts";
import type { Batch, Senders, SenderSession } from "./senders.ts";
import { next } from "./transitions.ts";

/**
 * One lane of the transport: a queue, a partition.
 *
 * `suspect`: a message of this lane is overdue. Until the broker has answered in it again, one message probes and the
 * rest wait: a stuck queue must not cause a storm of resends.
 */
export class WireLane {
  readonly number: number;
  /** See `Sender.kept`. */
  readonly kept: number | null;
  readonly fresh: Queue<Entry> = new Queue();
  readonly resends: Queue<Entry> = new Queue();
  /** Batches on the session in use that others must wait for. */
  busy = 0;
  suspect = false;
  /** The batch of one that probes. */
  probe: Batch | null = null;
  dirty = false;
  /** Somebody has said when it is to be looked at. */
  lingers = false;

  constructor(number: number, kept: number | null) {
    this.number = number;
    this.kept = kept;
  }
}

export interface WireOptions {
  readonly senders: Senders;
  readonly inFlightPerLane: "window" | 1;
  /** Calls back when what was published at this moment has waited long enough for others of its lane; null: none waits. */
  readonly linger: ((over: () => void) => void) | null;
  /** A copy of it is about to go out. */
  sent(entry: Entry): void;
  /** A lane fell silent, or answers again. */
  health(): void;
  /** It stood here while its session was lost, and its topic has not been declared on the new one. */
  undeclared(entry: Entry): void;
}

/**
 * Turns of the microtask queue that a batch waits for more of its tick, where the lane is shut behind it until it is
 * answered. Who has just been answered publishes again one to three turns later, and would miss it by that.
 */
const LEAST_HOPS = 3;
const MOST_HOPS = 8;

/** Forms the batches: what one tick published, per lane, resends first. */
export class Wire {
  readonly #o: WireOptions;
  readonly #lanes: Map<number, WireLane> = new Map();
  #dirty: WireLane[] = [];
  #scheduled = false;
  /** Since a flush was scheduled: copies that were added, those of them that were seen, turns that it has waited. */
  #added = 0;
  #seen = 0;
  #hops = 0;
  /** Wanted out while there was no session: without one, nobody can name a lane. */
  readonly #homeless: Queue<Entry> = new Queue();
  /** Lanes that are suspect. */
  #suspects = 0;
  /** RabbitMQ has but one lane: no look-up for it. */
  #last: WireLane | null = null;

  constructor(options: WireOptions) {
    this.#o = options;
  }

  /**
   * Whether any lane waits for an answer before it sends on. A suspect lane with nothing out and nothing waiting is not
   * silent: what comes next is its probe, and if nothing came until it had answered, it would be suspect for ever.
   */
  get silent(): boolean {
    if (this.#suspects === 0) return false;
    for (const lane of this.#lanes.values()) {
      if (lane.suspect && (lane.probe !== null || lane.resends.first !== null || lane.fresh.first !== null))
        return true;
    }
    return false;
  }

  /** Sends a copy with the batch of this tick, or as soon as there is a session. */
  add(entry: Entry): void {
    const session = this.#o.senders.current;
    if (session === null) {
      this.#homeless.push(entry);
      return;
    }
    // A message in doubt stays where its first copy went.
    const stays = (entry.doubted || entry.open > 0) && entry.lane >= 0;
    const number = stays ? entry.lane : session.sender.lane(entry.message, entry.kept);
    const lane = this.#lane(number, session);
    entry.lane = number;
    const fresh = entry.copies === 0 && entry.relayed === null;
    if (fresh) lane.fresh.push(entry);
    else lane.resends.push(entry);
    this.#added++;
    if (fresh && this.#o.linger !== null) this.#linger(lane);
    else this.#touch(lane);
  }

  /** What a row remembers of where the message went last; null: nothing. */
  kept({ lane }: Entry): number | null {
    return this.#lanes.get(lane)?.kept ?? null;
  }

  /** Its verdict is overdue: its lane is suspect. */
  overdue(entry: Entry): void {
    const { batch } = entry;
    if (batch === null) return;
    const { lane } = batch;
    this.#suspect(lane, true);
    this.forget(entry);
    // A transport that resends in the session: the lane must not wait for the very batch that is resent.
    if (batch.holds && batch.session === this.#o.senders.current) this.#letGo(batch);
    this.#touch(lane);
  }

  /** Its end does not wait for its last copy: another one must probe, or the lane would wait for a verdict that nobody times. */
  forget(entry: Entry): void {
    const { batch } = entry;
    if (batch === null || batch.lane.probe !== batch) return;
    batch.lane.probe = null;
    this.#touch(batch.lane);
    this.#o.health();
  }

  /** A verdict came. `answered`: from the broker, not for the want of it. */
  answer(batch: Batch, answered: boolean): void {
    const { lane } = batch;
    const current = batch.session === this.#o.senders.current;
    if (batch.left === 0) {
      if (current && batch.holds) this.#letGo(batch);
      if (lane.probe === batch) lane.probe = null;
    }
    if (answered && current && lane.suspect) this.#suspect(lane, false);
    if (lane.fresh.first !== null || lane.resends.first !== null) this.#touch(lane);
    if (lane.suspect) this.#o.health();
  }

  /** A session came into use, or became able to send again. `fresh`: none of what is out is on it. */
  resume(fresh: boolean): void {
    if (fresh) for (const lane of this.#lanes.values()) lane.busy = 0;
    for (let left = this.#homeless.size; left > 0; left--) {
      const entry = this.#homeless.shift();
      if (entry !== null) this.add(entry);
    }
    for (const lane of this.#lanes.values()) this.#touch(lane);
  }

  /** The session was lost: what is resent now goes to another one, and nothing is suspect on that. */
  lost(): void {
    for (const lane of this.#lanes.values()) {
      this.#suspect(lane, false);
      lane.probe = null;
      lane.busy = 0;
    }
  }

  #suspect(lane: WireLane, is: boolean): void {
    if (lane.suspect === is) return;
    lane.suspect = is;
    this.#suspects += is ? 1 : -1;
    this.#o.health();
  }

  #letGo(batch: Batch): void {
    batch.holds = false;
    batch.lane.busy--;
  }

  #lane(number: number, { sender }: SenderSession): WireLane {
    if (this.#last?.number === number) return this.#last;
    let lane = this.#lanes.get(number);
    if (lane === undefined) this.#lanes.set(number, (lane = new WireLane(number, sender.kept(number))));
    this.#last = lane;
    return lane;
  }

  /** From the first that waits: those that come meanwhile go with it. An answer in its lane, or a resend, takes them along. */
  #linger(lane: WireLane): void {
    if (lane.lingers) return;
    lane.lingers = true;
    this.#o.linger?.(() => {
      lane.lingers = false;
      this.#touch(lane);
    });
  }

  #touch(lane: WireLane): void {
    if (lane.dirty) return;
    lane.dirty = true;
    this.#dirty.push(lane);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#added = this.#seen = this.#hops = 0;
    queueMicrotask(this.#hop);
  }

  readonly #hop = (): void => {
    const more = this.#hops < LEAST_HOPS || (this.#added > this.#seen && this.#hops < MOST_HOPS);
    if (this.#o.inFlightPerLane !== 1 || !more) return this.#flush();
    this.#seen = this.#added;
    this.#hops++;
    queueMicrotask(this.#hop);
  };

  #flush(): void {
    this.#scheduled = false;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const lane of dirty) {
      lane.dirty = false;
      // Asked anew for each lane: the last one's batch may have been the session's end. Without a session the lane keeps
      // what it has; `resume` comes back to it.
      const session = this.#o.senders.current;
      if (session !== null && !session.blocked) this.#send(session, lane);
    }
  }

  #send(session: SenderSession, lane: WireLane): void {
    if (this.#o.inFlightPerLane === 1 && lane.busy > 0) return;
    const { suspect } = lane;
    if (suspect && lane.probe !== null) return;
    const entries: Entry[] = [];
    const messages: Outgoing[] = [];
    this.#take(lane.resends, suspect, entries, messages);
    if (!suspect || entries.length === 0) this.#take(lane.fresh, suspect, entries, messages);
    if (entries.length === 0) return;
    const batch: Batch = { session, lane, entries, left: entries.length, holds: true };
    if (suspect) lane.probe = batch;
    lane.busy++;
    this.#o.senders.send(batch, messages);
    if (suspect) this.#o.health();
  }

  /** Takes out what wants a copy: all of it, or one. */
  #take(queue: Queue<Entry>, one: boolean, entries: Entry[], messages: Outgoing[]): void {
    for (let entry = queue.shift(); entry !== null; entry = queue.shift()) {
      if (!entry.line.ready) {
        this.#o.undeclared(entry);
        continue;
      }
      entry.state = next(entry.state, "sent");
      this.#o.sent(entry);
      entries.push(entry);
      messages.push(entry.message);
      if (one) return;
    }
  }
}
