import { DEAD_LETTERS, type Outgoing, TallyError, type TopicPlan, type Verdict } from "@tallymq/core/spi";
import { brokerName, legalGroup, legalTopic, shortHash, slotOf } from "./names.ts";
import type { ResolvedOptions } from "./options.ts";
import type { TopicKind } from "./remoting/master.ts";

/** A topic on the broker, as it should be. */
export interface PlannedTopic {
  readonly name: string;
  readonly kind: TopicKind;
  /** Ours to make. */
  readonly own: boolean;
}

/** What a topic has beside it: for delayed messages, and for half messages. */
export type Beside = ReadonlySet<"later" | "halves">;

const NOTHING: Beside = new Set();
const LATER: Beside = new Set(["later"]);
const BOTH: Beside = new Set(["later", "halves"]);

/** What is known to be needed beside a topic: for a group that consumes it all that it reads; null: to publish, nothing. */
export function besideOf(group: string | null): Beside {
  if (group === null) return NOTHING;
  return hasCopies(group) ? BOTH : LATER;
}

/** Where messages of a lane go, and how. */
export interface Place {
  readonly topic: string;
  /** `one`: each message in a request of its own. */
  readonly requests: "batches" | "one";
}

/** What is known of a topic on the broker. */
interface Known {
  readonly kind: TopicKind;
  /** Messages of one batch go by one lane, those of the next one by the next. */
  sticky: number;
}

/** How topics of dead letters end. */
const LETTERS = `.${DEAD_LETTERS}`;
/** A topic of the broker's own making. */
export const GIVEN_UP = "%DLQ%";
/** Lanes of a topic whose messages go one by one; more of them are more requests at one time. */
const SLOTS = 16;
/** Longest message group that the proxy takes. */
const MOST_MESSAGE_GROUP = 64;

/**
 * What a topic of Tally is on RocketMQ.
 *
 * A topic is a topic, of the kind FIFO if it is ordered, and a group of it is the consumer group `<topic>_<group>`: its own
 * for each topic, since all members of a group must subscribe to the same topics. A topic of RocketMQ takes messages of one
 * kind only. So what is delayed goes to `<topic>_later`, and copies for one group, delayed or not, to
 * `<topic>_<group>_copies`, both of the kind DELAY; half messages to `<topic>_halves`, of the kind TRANSACTION, unless the topic
 * is ordered. The group's members read all of them.
 *
 * A lane is a slot of a topic: so many requests of it are under way at one time.
 */
export class Topology {
  readonly #o: ResolvedOptions;
  readonly #known: Map<string, Known> = new Map();
  readonly #lanes: Map<string, number[]> = new Map();
  readonly #places: Place[] = [];
  #accepted: Verdict = accepted("unverified");

  constructor(options: ResolvedOptions) {
    this.#o = options;
  }

  topicOf(topic: string): string {
    return this.#o.topics.get(topic)?.topic ?? this.#named(topic);
  }

  laterOf(topic: string): string {
    return legalTopic(topic, `${this.#named(topic)}_later`);
  }

  /** @throws TallyError `topology` */
  halvesOf(topic: string): string {
    return legalTopic(topic, `${this.#named(topic)}_halves`);
  }

  /** @throws TallyError `topology` */
  groupOf(topic: string, group: string): string {
    const given = this.#o.topics.get(topic)?.groups.get(group);
    const own = brokerName(group);
    return legalGroup(`${topic} / ${group}`, given ?? (own === null ? null : `${this.#named(topic)}_${own}`));
  }

  /** @throws TallyError `topology` */
  copiesOf(topic: string, group: string): string {
    const own = brokerName(group);
    return legalTopic(`${topic} / ${group}`, own === null ? null : `${this.#named(topic)}_${own}_copies`);
  }

  /** The topics of a plan and of these groups of it. */
  plans({ name, ordered }: TopicPlan, groups: readonly string[], beside: Beside): readonly PlannedTopic[] {
    const own = this.#o.topics.get(name)?.declare ?? true;
    const all: PlannedTopic[] = [{ name: this.topicOf(name), kind: ordered ? "FIFO" : "NORMAL", own }];
    if (beside.has("later")) all.push({ name: this.laterOf(name), kind: "DELAY", own: true });
    if (beside.has("halves") && !ordered) all.push({ name: this.halvesOf(name), kind: "TRANSACTION", own: true });
    for (const group of groups)
      if (hasCopies(group)) all.push({ name: this.copiesOf(name, group), kind: "DELAY", own: true });
    return all;
  }

  /** What a member of the group reads: its topic first. */
  topicsOf({ name, ordered }: TopicPlan, group: string): readonly string[] {
    if (hasCopies(group)) {
      const halves = ordered ? [] : [this.halvesOf(name)];
      return [this.topicOf(name), this.laterOf(name), this.copiesOf(name, group), ...halves];
    }
    const givenUp = this.#givenUp(name);
    return givenUp === null ? [this.topicOf(name)] : [this.topicOf(name), givenUp];
  }

  /** Where the broker puts what it gives up on itself, of the group whose dead letters these are. Made by it, if ever. */
  #givenUp(letters: string): string | null {
    const of = letters.slice(0, -LETTERS.length);
    if (!letters.endsWith(LETTERS)) return null;
    for (const [topic, { groups }] of this.#o.topics)
      for (const [group, id] of groups) if (of === `${topic}.${group}`) return `${GIVEN_UP}${id}`;
    const name = brokerName(of);
    return name === null ? null : `${GIVEN_UP}${this.#o.prefix}${name}`;
  }

  learned({ name, kind }: PlannedTopic): void {
    if (!this.#known.has(name)) this.#known.set(name, { kind, sticky: 0 });
  }

  kindOf(topic: string): TopicKind | null {
    return this.#known.get(topic)?.kind ?? null;
  }

  knows(topic: string): boolean {
    return this.#known.has(topic);
  }

  forget(topic: string): void {
    this.#known.delete(topic);
  }

  get known(): readonly string[] {
    return [...this.#known.keys()];
  }

  /** The topic of a message on the broker. @throws TallyError `topology` */
  whereTo(m: Outgoing): string {
    if (m.group !== null) return this.copiesOf(m.topic, m.group);
    return m.delayMs > 0 ? this.laterOf(m.topic) : this.topicOf(m.topic);
  }

  /** The lane of a message; -1 where its topic is not known. */
  laneOf(m: Outgoing): number {
    const topic = this.#whereToOrNull(m);
    const known = topic === null ? undefined : this.#known.get(topic);
    if (topic === null || known === undefined) return -1;
    if (known.kind === "NORMAL") return this.#lane(topic, known.sticky % this.#o.requests, "batches");
    return this.#lane(topic, slotOf(known.kind === "FIFO" ? (m.key ?? m.id) : m.id, SLOTS), "one");
  }

  placeOf(lane: number): Place | null {
    return this.#places[lane] ?? null;
  }

  /** FIFO within it. Any key may be one: what the proxy would not take is a hash, and keys that share one share an order. */
  messageGroupOf(m: Outgoing, topic: string): string | null {
    if (this.#known.get(topic)?.kind !== "FIFO") return null;
    const key = m.key ?? m.id;
    return /^[a-zA-Z0-9._-]+$/.test(key) && key.length <= MOST_MESSAGE_GROUP ? key : shortHash(key);
  }

  /** A batch has left: the next one goes by another lane. */
  left({ topic, requests }: Place): void {
    const known = this.#known.get(topic);
    if (known !== undefined && requests === "batches") known.sticky++;
  }

  /** @param flushed What the brokers say of flushing to disk before they answer. */
  vouched(flushed: "yes" | "no" | "unverified"): void {
    this.#accepted = accepted(flushed);
  }

  get accepted(): Verdict {
    return this.#accepted;
  }

  #whereToOrNull(m: Outgoing): string | null {
    try {
      return this.whereTo(m);
    } catch (thrown) {
      if (TallyError.is(thrown)) return null;
      throw thrown;
    }
  }

  #named(topic: string): string {
    const name = brokerName(topic);
    return legalTopic(topic, name === null ? null : `${this.#o.prefix}${name}`);
  }

  #lane(topic: string, slot: number, requests: Place["requests"]): number {
    let lanes = this.#lanes.get(topic);
    if (lanes === undefined) this.#lanes.set(topic, (lanes = []));
    let lane = lanes[slot];
    if (lane === undefined) {
      lane = lanes[slot] = this.#places.length;
      this.#places.push(Object.freeze({ topic, requests }));
    }
    return lane;
  }
}

/** Nobody sends copies of dead letters to one group. */
function hasCopies(group: string): boolean {
  return group !== DEAD_LETTERS;
}

function accepted(persisted: "yes" | "no" | "unverified"): Verdict {
  return Object.freeze({
    kind: "accepted",
    proof: Object.freeze({ routed: "yes", persisted, replicated: "unverified" }),
  });
}
