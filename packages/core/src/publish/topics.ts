import type { TopicPlan } from "../spi.ts";
import type { Entry } from "./entry.ts";

/** Messages of one ordered key, in the order of their calls; only the head may have a copy out. */
interface KeyLine {
  head: Entry;
  tail: Entry;
}

/** What the publisher keeps for each topic. */
export class TopicLine {
  readonly plan: TopicPlan;
  /** Calls of `publish()` so far. */
  seq = 0;
  /** Declared in the session in use. */
  ready = false;
  declaring = false;
  /** Ready to go but for the declaration. */
  waiting: Entry[] = [];
  /** In flight by the caller's own id; generated ids are unique and not in it. */
  readonly byId: Map<string, Entry> = new Map();
  readonly #keys: Map<string, KeyLine> = new Map();

  constructor(plan: TopicPlan) {
    this.plan = plan;
  }

  /** Takes a place behind the earlier messages of its key. */
  lineUp(entry: Entry): void {
    const key = entry.message.key ?? "";
    const line = this.#keys.get(key);
    if (line === undefined) this.#keys.set(key, { head: entry, tail: entry });
    else {
      line.tail.nextOfKey = entry;
      line.tail = entry;
    }
  }

  isHead(entry: Entry): boolean {
    return this.#keys.get(entry.message.key ?? "")?.head === entry;
  }

  /** Leaves its place, wherever that is; gives the new head if the head left. */
  stepOut(entry: Entry): Entry | null {
    const key = entry.message.key ?? "";
    const line = this.#keys.get(key);
    if (line === undefined) return null;
    if (line.head === entry) {
      if (entry.nextOfKey === null) {
        this.#keys.delete(key);
        return null;
      }
      line.head = entry.nextOfKey;
      entry.nextOfKey = null;
      return line.head;
    }
    // Withdrawn from the middle: rare, and lines of one key are short (they wait in the window).
    for (let before: Entry | null = line.head; before !== null; before = before.nextOfKey) {
      if (before.nextOfKey !== entry) continue;
      before.nextOfKey = entry.nextOfKey;
      if (line.tail === entry) line.tail = before;
      entry.nextOfKey = null;
      break;
    }
    return null;
  }

  /** Takes out all that waits for the declaration. */
  takeWaiting(): Entry[] {
    const taken = this.waiting;
    this.waiting = [];
    return taken;
  }
}
