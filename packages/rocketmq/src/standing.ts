import type { InMessage } from "./driver/driver.ts";

/**
 * Acked offsets of a queue, and released messages of a group, that are kept at most; the oldest go first. Of acked ones the
 * broker counts those long since; of released ones another process has long had what has not come here again.
 */
const MOST_KEPT = 10_000;

/**
 * What this transport's consumers of one group have out, and what they have lately acked.
 *
 * The broker's word of where a group is follows some seconds behind: it goes on when all that it handed out before is
 * acked, or when it has written down elsewhere what is not. With what we know ourselves the backlog is exact for our own
 * consumers, and at most that far behind for those of other processes.
 */
export class Standing {
  /** By queue: offsets that are out, and acked ones that the broker may not count yet. */
  readonly #out: Map<string, Set<number>> = new Map();
  readonly #done: Map<string, Set<number>> = new Map();
  /** Released, and not here again. */
  readonly #away: Set<string> = new Set();

  out(m: InMessage): void {
    this.#away.delete(m.messageId);
    of(this.#out, m).add(m.offset);
  }

  done(m: InMessage): void {
    of(this.#out, m).delete(m.offset);
    keep(of(this.#done, m), m.offset);
  }

  /** Given back, or lost with its session. */
  released(m: InMessage): void {
    of(this.#out, m).delete(m.offset);
    // The order of a FIFO queue waits for it in the queue itself.
    if (m.messageGroup !== null) return;
    keep(of(this.#done, m), m.offset);
    keep(this.#away, m.messageId);
  }

  /** Of one queue. @param from Where the group is, by the broker's word. */
  count(topic: string, queue: number, from: number, to: number): number {
    const at = `${topic}/${queue}`;
    const done = this.#done.get(at);
    let count = Math.max(0, to - from);
    for (const offset of done ?? [])
      if (offset < from) done!.delete(offset);
      else count--;
    for (const offset of this.#out.get(at) ?? []) if (offset < from) count++;
    return Math.max(0, count);
  }

  get away(): number {
    return this.#away.size;
  }
}

/** What was tried before comes by another topic than its own, which the proxy does not name. */
export const RETRY = "%RETRY%";

function keep<T>(set: Set<T>, one: T): void {
  set.add(one);
  if (set.size <= MOST_KEPT) return;
  for (const oldest of set) {
    set.delete(oldest);
    return;
  }
}

function of(sets: Map<string, Set<number>>, { topic, queueId, attempt, messageGroup }: InMessage): Set<number> {
  const at = `${attempt > 1 && messageGroup === null ? RETRY : ""}${topic}/${queueId}`;
  let set = sets.get(at);
  if (set === undefined) sets.set(at, (set = new Set()));
  return set;
}
