import type { TallyError } from "../error.ts";
import type { Incoming } from "../message.ts";

interface Away {
  /** Released and not seen again, in the order of their release. */
  readonly ids: string[];
  readonly why: TallyError;
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
 * them. The order of the wire makes the end exact: when one that was away comes back, the broker had taken its release
 * and those of all before it, so nothing sent earlier can still be under way, and those before it went to another
 * consumer or were thrown away by the broker. A message is turned back at most once for each time that it was away:
 * there is no endless loop, also with several consumers (where the broker, not we, would have to keep the order).
 *
 * A foreign message without id would not be recognised when it comes back: it is neither tracked nor turned back. Entries of keys that nobody
 * asks for again are dropped after a minute, so memory is bounded by the releases of one minute.
 */
export class AwayKeys {
  readonly #now: () => number;
  /** In the order of their last change. */
  readonly #keys: Map<string, Away> = new Map();

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
    const known = this.#keys.get(key);
    const away: Away = { ids: known?.ids ?? [], why, at: now };
    for (const message of messages) {
      const id = identity(message);
      if (id !== null) away.ids.push(id);
    }
    this.#keys.delete(key);
    if (away.ids.length > 0) this.#keys.set(key, away);
  }

  /** A delivery of this key has arrived: why it must turn back, or null if it may run. */
  arrived(key: string, message: Incoming): TallyError | null {
    if (this.#keys.size === 0) return null;
    const away = this.#keys.get(key);
    if (away === undefined) return null;
    if (away.at + FORGET_AFTER <= this.#now()) {
      this.#keys.delete(key);
      return null;
    }
    const id = identity(message);
    if (id === null) return null;
    const place = away.ids.indexOf(id);
    if (place === -1) return away.why;
    away.ids.splice(0, place + 1);
    if (away.ids.length === 0) this.#keys.delete(key);
    return null;
  }

  /** The session is over: the broker returned everything, and nothing of it is under way. */
  clear(): void {
    this.#keys.clear();
  }
}

/** NUL stands in no id. */
function identity(message: Incoming): string | null {
  return message.id === null ? null : `${message.producer ?? ""}\0${message.id}`;
}
