import type { Outgoing } from "../message.ts";
import type { Entry } from "./entry.ts";
import type { Batch, Senders, SenderSession } from "./senders.ts";
import { next, OVERDUE, WAITING } from "./transitions.ts";

/**
 * One lane of the transport: a queue, a partition.
 *
 * `suspect`: a message of this lane is overdue. Until the broker has answered in it again, one message probes and the
 * rest wait: a stuck queue must not cause a storm of resends.
 */
class WireLane {
  readonly number: number;
  fresh: Entry[] = [];
  resends: Entry[] = [];
  /** Batches on the session in use without all their verdicts. */
  busy = 0;
  suspect = false;
  probe: Entry | null = null;
  dirty = false;

  constructor(number: number) {
    this.number = number;
  }
}

export interface WireOptions {
  readonly senders: Senders;
  readonly inFlightPerLane: "window" | 1;
  /** A copy of it is about to go out. */
  sent(entry: Entry): void;
  /** It stood here while its session was lost, and its topic has not been declared on the new one. */
  undeclared(entry: Entry): void;
}

/** Forms the batches: what one tick published, per lane, resends first. */
export class Wire {
  readonly #o: WireOptions;
  readonly #lanes: Map<number, WireLane> = new Map();
  #dirty: WireLane[] = [];
  #scheduled = false;
  /** Wanted out while there was no session: without one, nobody can name a lane. */
  #homeless: Entry[] = [];
  /** RabbitMQ has but one lane: no look-up for it. */
  #last: WireLane | null = null;

  constructor(options: WireOptions) {
    this.#o = options;
  }

  /** Sends a copy with the batch of this tick, or as soon as there is a session. */
  add(entry: Entry): void {
    const session = this.#o.senders.current;
    if (session === null) {
      this.#homeless.push(entry);
      return;
    }
    // A message in doubt stays where its first copy went.
    const number = entry.doubted || entry.open > 0 ? entry.lane : session.sender.lane(entry.message);
    const lane = this.#lane(number);
    entry.lane = number;
    if (entry.copies === 0) lane.fresh.push(entry);
    else lane.resends.push(entry);
    this.#touch(lane);
  }

  /** Its verdict is overdue: its lane is suspect, and it is sent again when its turn comes. */
  overdue(entry: Entry): void {
    const lane = this.#lane(entry.lane);
    lane.suspect = true;
    if (lane.probe === entry) lane.probe = null;
    lane.resends.push(entry);
    this.#touch(lane);
  }

  /** A verdict came. `answered`: from the broker, not for the want of it. */
  answer(entry: Entry, batch: Batch, answered: boolean): void {
    const lane = this.#lane(entry.lane);
    const current = batch.session === this.#o.senders.current;
    if (current && batch.left === 0 && lane.busy > 0) lane.busy--;
    // The probe's own copy: an older one of the same message, on a retired session, says nothing about this one.
    if (lane.probe === entry && entry.batch === batch) lane.probe = null;
    if (answered && current) lane.suspect = false;
    if (lane.fresh.length > 0 || lane.resends.length > 0) this.#touch(lane);
  }

  /** A session came into use, or became able to send again. `fresh`: none of what is out is on it. */
  resume(fresh: boolean): void {
    if (fresh) for (const lane of this.#lanes.values()) lane.busy = 0;
    const homeless = this.#homeless;
    this.#homeless = [];
    for (const entry of homeless) this.add(entry);
    for (const lane of this.#lanes.values()) this.#touch(lane);
  }

  /** The session was lost: what is resent now goes to another one, and nothing is suspect on that. */
  lost(): void {
    for (const lane of this.#lanes.values()) {
      lane.suspect = false;
      lane.probe = null;
      lane.busy = 0;
    }
  }

  #lane(number: number): WireLane {
    if (this.#last?.number === number) return this.#last;
    let lane = this.#lanes.get(number);
    if (lane === undefined) this.#lanes.set(number, (lane = new WireLane(number)));
    this.#last = lane;
    return lane;
  }

  #touch(lane: WireLane): void {
    if (lane.dirty) return;
    lane.dirty = true;
    this.#dirty.push(lane);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    const dirty = this.#dirty;
    this.#dirty = [];
    const session = this.#o.senders.current;
    for (const lane of dirty) {
      lane.dirty = false;
      // Without a session the lane keeps what it has; `resume` comes back to it.
      if (session !== null && !session.blocked) this.#send(session, lane);
    }
  }

  #send(session: SenderSession, lane: WireLane): void {
    if (this.#o.inFlightPerLane === 1 && lane.busy > 0) return;
    if (lane.suspect && lane.probe !== null) return;
    const entries: Entry[] = [];
    const messages: Outgoing[] = [];
    if (lane.resends.length > 0) lane.resends = this.#take(lane.resends, lane.suspect, entries, messages);
    if (!lane.suspect || entries.length === 0) lane.fresh = this.#take(lane.fresh, lane.suspect, entries, messages);
    const [first] = entries;
    if (first === undefined) return;
    if (lane.suspect) lane.probe = first;
    lane.busy++;
    this.#o.senders.send(session, lane.number, entries, messages);
  }

  /** Moves what still wants a copy out of `queue`, all of it or the first; gives what stays. */
  #take(queue: Entry[], one: boolean, entries: Entry[], messages: Outgoing[]): Entry[] {
    for (let i = 0; i < queue.length; i++) {
      const entry = queue[i];
      // It may have ended while it stood here: withdrawn, or accepted by a retired session.
      if (entry === undefined || (entry.state !== WAITING && entry.state !== OVERDUE)) continue;
      if (!entry.line.ready) {
        this.#o.undeclared(entry);
        continue;
      }
      entry.state = next(entry.state, "sent");
      this.#o.sent(entry);
      entries.push(entry);
      messages.push(entry.message);
      if (one) return queue.slice(i + 1);
    }
    return [];
  }
}
