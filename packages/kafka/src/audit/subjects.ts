import { type AuditSubject, DEAD_LETTERS, type TopicPlan } from "@tallymq/core/spi";
import type { Topology } from "../topology.ts";
import type { TopicState } from "./world.ts";

/** A topic to look at, and what it is for. */
export type TopicSubject = Pick<TopicState, "name" | "purpose" | "holdsMs" | "outboxMs" | "remembersMs">;

/** A consumer group to look at, and what its members subscribe to. */
export interface GroupSubject {
  readonly name: string;
  readonly topics: readonly string[];
}

/** Topics and groups of these subjects, each once, with those of copies, dead letters and delays. */
export function thingsOf(
  topology: Topology,
  subjects: readonly AuditSubject[],
): { readonly topics: readonly TopicSubject[]; readonly groups: readonly GroupSubject[] } {
  const topics = new Map<string, TopicSubject>();
  const groups = new Map<string, GroupSubject>();
  const add = (one: TopicSubject): void => {
    const known = topics.get(one.name) ?? one;
    topics.set(one.name, {
      ...known,
      holdsMs: Math.max(known.holdsMs, one.holdsMs),
      outboxMs: Math.max(known.outboxMs, one.outboxMs),
      remembersMs: least(known.remembersMs, one.remembersMs),
    });
  };
  for (const { topic, group, holdsMs, outboxMs, remembersMs } of subjects) {
    const { name } = topic;
    const letters = isLetters(topic);
    const purpose = letters ? "letters" : "own";
    add({ name: topology.topicOf(name), purpose, holdsMs, outboxMs, remembersMs });
    if (letters) continue;
    add({ name: topology.delaysOf(name), purpose: "delays", ...NOTHING });
    for (const one of group === null ? topic.groups : [group]) {
      if (one === DEAD_LETTERS) continue;
      // A copy goes past the outbox.
      add({ name: topology.copiesOf(name, one), purpose: "copies", holdsMs, outboxMs: 0, remembersMs });
      add({ name: topology.topicOf(`${name}.${one}.${DEAD_LETTERS}`), purpose: "letters", ...NOTHING });
      groups.set(topology.groupOf(name, one), {
        name: topology.groupOf(name, one),
        topics: topology.topicsOf(topic, one),
      });
    }
  }
  return { topics: [...topics.values()], groups: [...groups.values()] };
}

const NOTHING = { holdsMs: 0, outboxMs: 0, remembersMs: null } as const;

function isLetters({ groups }: TopicPlan): boolean {
  return groups.length > 0 && groups.every((one) => one === DEAD_LETTERS);
}

function least(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.min(a, b);
}
