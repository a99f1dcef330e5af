import type { TallyError } from "../error.ts";
import { idOf, type Incoming } from "../message.ts";

interface Entry {
  readonly id: string;
  /** Number of its release; 0 while it is in hand. */
  released: number;
}

interface Away {
  /** In the order of the key: that of the first deliveries. At least one of them is away. */
  entries: Entry[];
  why: TallyError;
  at: number;
}

// Longer than any frame is under way on a session that heartbeats keep honest.
const FORGET_AFTER = 60_000;

/**
 * Which messages of ordered keys were released and have not come back, for one session.
 *
 * Why it is needed. RabbitMQ puts a requeued message before all that it has not delivered yet: a quorum queue keeps
 * returned messages in a queue of their own, in the order of their return, and serves it first; a classic queue puts each
 * back to its old place. So a head and all deliveries of its key in hand, released in their order, come again in their
 * order, before the key's later messages. But the broker sends ahead: the key's next message may be on its way to us when
 * our release passes it. It arrives first, and would overtake the head:
 *
 *     broker → us   m1 m2        m3                 m1' m2' m3'
 *     us → broker          release(m1 m2)  release(m3)
 *
 * So a delivery that arrives while others of its key are away, and is not itself one of them, is released too, behind
 * them. When one that was away comes back, the order of the wire tells what became of the others: the broker had taken
 * all releases before its own, so what was released earlier and is still missing went to another consumer or was thrown
 * away by the broker, and is waited for no more. What was released later is still to come: if it belongs before this one
 * in the key (m1 failed once more while m3 was on its way back), this one turns back again.
 *
 * A message turns back at most once for each release of one before it, so there is no endless loop, also with several
 * consumers (where the broker, not we, would have to keep the order).
 *
 * A foreign message without id would not be recognised when it comes back: it is neither tracked nor turned back. Entries
 * of keys that nobody asks for again are dropped after a minute, so memory is bounded by the releases of one minute.
 */
export class AwayKeys {
  readonly #now: () => number;
  /** In the order of their last change. */
  readonly #keys: Map<string, Away> = new Map();
  #releases = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** These deliveries of a key have been released, in this order. */
  left(key: string, messages: readonly Incoming[], why: TallyError): void {
    const now = this.#now();
    for (const [old, { at }] of this.#keys) {
      if (at + FORGET_AFTER > now) break;
      this.#keys.delete(old);
    }
    const entries = this.#keys.get(key)?.entries ?? [];
    for (const message of messages) {
      const id = identity(message);
      if (id === null) continue;
      const released = ++this.#releases;
      const known = entries.find((entry) => entry.id === id && entry.released === 0);
      if (known === undefined) entries.push({ id, released });
      else known.released = released;
    }
    this.#keys.delete(key);
    if (entries.length > 0) this.#keys.set(key, { entries, why, at: now });
  }

  /**
   * A delivery of this key has arrived: why it must turn back (`left` follows), or null if it may run.
   * @param count Deliveries of it as the broker counts them. A first one is nobody who was released and comes back, though
   *   it may look so: a message that was published twice.
   */
  arrived(key: string, message: Incoming, count: number | null): TallyError | null {
    if (this.#keys.size === 0) return null;
    const away = this.#keys.get(key);
    if (away === undefined) return null;
    if (away.at + FORGET_AFTER <= this.#now()) {
      this.#keys.delete(key);
      return null;
    }
    const id = identity(message);
    if (id === null) return null;
    const entry = count === 1 ? undefined : away.entries.find((e) => e.id === id && e.released > 0);
    if (entry === undefined) return away.why;
    const { released } = entry;
    entry.released = 0;
    away.entries = away.entries.filter((e) => e.released === 0 || e.released > released);
    if (away.entries.slice(0, away.entries.indexOf(entry)).some((e) => e.released > 0)) return away.why;
    this.#settled(key, away);
    return null;
  }

  /** A delivery of this key has been acked. */
  done(key: string, message: Incoming): void {
    if (this.#keys.size === 0) return;
    const away = this.#keys.get(key);
    if (away === undefined) return;
    const id = identity(message);
    const place = away.entries.findIndex((entry) => entry.id === id && entry.released === 0);
    if (place !== -1) away.entries.splice(place, 1);
    this.#settled(key, away);
  }

  /** Nothing away: what is in hand keeps its order in its lane. */
  #settled(key: string, away: Away): void {
    if (!away.entries.some((entry) => entry.released > 0)) this.#keys.delete(key);
  }

  /** The session is over: the broker returned everything, and nothing of it is under way. */
  clear(): void {
    this.#keys.clear();
  }
}

/** NUL stands in no id. */
function identity(message: Incoming): string | null {
  const id = idOf(message);
  return id === null ? null : `${message.producer ?? ""}\0${id}`;
}
