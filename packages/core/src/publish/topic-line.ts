import { TallyError } from "../error.ts";
import { DEDUPE_FOR_MS } from "../outbox/age.ts";
import type { TopicPlan } from "../port/topic-plan.ts";
import type { Topic } from "../topic.ts";
import { TopicBreaker } from "./breakers.ts";
import type { Entry } from "./entry.ts";
import { Queue } from "./queue.ts";

/** Messages of one ordered key, in the order of their calls; only the head may have a copy out. */
interface KeyLine {
  head: Entry;
  tail: Entry;
}

/** A topic as a program names it, or as a row does, which says no more than the plan. */
export type Named = TopicPlan & Partial<Pick<Topic<never>, "outbox" | "dedupeFor">>;

/** What the publisher keeps for each topic. */
export class TopicLine {
  plan: TopicPlan;
  /** See `AuditSubject.outboxMs`, with an outbox. */
  outboxMs = 0;
  /** Calls of `publish()` so far. */
  seq = 0;
  /** The longest delay that is declared with it; 0: it is for what goes out at once. */
  delayMs = 0;
  /** Declared in the session in use. */
  ready = false;
  /** Why it cannot be declared in the session that is opening. */
  refusal: TallyError | null = null;
  declaring = false;
  readonly breaker: TopicBreaker = new TopicBreaker();
  /** Ready to go but for the declaration. */
  readonly waiting: Queue<Entry> = new Queue();
  /** In flight by the caller's own id; generated ids are unique and not in it. */
  readonly byId: Map<string, Entry> = new Map();
  readonly #keys: Map<string, KeyLine> = new Map();
  /**
   * Rows of a key on their way from the outbox have a line of their own: a new message of the key may be waiting for them to
   * be gone, and they must not stand behind it.
   */
  readonly #rows: Map<string, KeyLine> = new Map();
  /** The topic that was last seen to say no more than `plan`. */
  #source: Named;

  constructor(topic: Named) {
    this.plan = { name: topic.name, ordered: topic.ordered, groups: topic.groups };
    this.#source = topic;
    this.#stores(topic);
  }

  /**
   * Two places in a program may each make the topic, with the groups that they know: nothing is published past any of them.
   * @throws TallyError `bad-config` when it is known with another order
   */
  merge(topic: Named): void {
    if (topic === this.#source) return;
    const { plan } = this;
    if (topic.ordered !== plan.ordered) {
      throw new TallyError(
        "bad-config",
        `topic ${plan.name} is published to as ordered and as unordered; it can be one of them`,
      );
    }
    this.#source = topic;
    this.#stores(topic);
    const more = topic.groups.filter((group) => !plan.groups.includes(group));
    if (more.length === 0) return;
    this.plan = { ...plan, groups: [...plan.groups, ...more] };
    this.ready = false;
  }

  /** Takes a place behind the earlier messages of its key. */
  lineUp(entry: Entry): void {
    const [lines, key] = [this.#linesOf(entry), entry.message.key ?? ""];
    const line = lines.get(key);
    if (line === undefined) lines.set(key, { head: entry, tail: entry });
    else {
      line.tail.nextOfKey = entry;
      entry.prevOfKey = line.tail;
      line.tail = entry;
    }
  }

  /** Whether messages of this key, rows apart, have not ended. */
  hasKey(key: string | null): boolean {
    return this.#keys.has(key ?? "");
  }

  /** Whether it is the first of its key that has not ended. */
  isHead(entry: Entry): boolean {
    return entry.prevOfKey === null;
  }

  /** Leaves its place, wherever that is; gives the new head if the head left. */
  stepOut(entry: Entry): Entry | null {
    const { prevOfKey: before, nextOfKey: after } = entry;
    entry.prevOfKey = null;
    entry.nextOfKey = null;
    const [lines, key] = [this.#linesOf(entry), entry.message.key ?? ""];
    if (before === null && after === null) {
      lines.delete(key);
      return null;
    }
    if (before !== null) before.nextOfKey = after;
    if (after !== null) after.prevOfKey = before;
    const line = lines.get(key);
    if (line === undefined) return null;
    if (before !== null) {
      if (after === null) line.tail = before;
      return null;
    }
    if (after !== null) line.head = after;
    return after;
  }

  #stores({ outbox, dedupeFor = DEDUPE_FOR_MS }: Named): void {
    if (outbox !== "off") this.outboxMs = Math.max(this.outboxMs, dedupeFor);
  }

  #linesOf({ relayed }: Entry): Map<string, KeyLine> {
    return relayed === null ? this.#keys : this.#rows;
  }
}
