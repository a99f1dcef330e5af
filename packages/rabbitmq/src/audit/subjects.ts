import { type AuditSubject, DEAD_LETTERS } from "@tallymq/core/spi";
import type { ExchangePlan, Mapping, QueuePlan } from "../plan.ts";
import { worksOf } from "../topics.ts";

/** A queue to look at, and what it is for. */
export interface QueueSubject {
  readonly plan: QueuePlan;
  /** Meant to lead to it; null: the default exchange. */
  readonly exchange: string | null;
  readonly letters: boolean;
  readonly ordered: boolean;
  readonly holdsMs: number;
  readonly attempts: number;
}

/** `made`: by this program, which would have been told if it were another. */
export interface ExchangeSubject {
  readonly plan: ExchangePlan;
  readonly made: boolean;
}

/** Exchanges and queues of these subjects, each once, dead letters with those that they are of. */
export function thingsOf(
  mapping: Mapping,
  subjects: readonly AuditSubject[],
): { readonly exchanges: readonly ExchangeSubject[]; readonly queues: readonly QueueSubject[] } {
  const exchanges = new Map<string, ExchangeSubject>();
  const queues = new Map<string, QueueSubject>();
  /** `ours`: made as planned, or compared with that, the queue of its dead letters as well. */
  const add = (one: QueueSubject, ours: boolean): void => {
    const known = queues.get(one.plan.name);
    queues.set(one.plan.name, {
      ...(known ?? one),
      holdsMs: Math.max(known?.holdsMs ?? 0, one.holdsMs),
      attempts: Math.max(known?.attempts ?? 0, one.attempts),
    });
    const { dead } = one.plan;
    if (ours && dead !== null)
      add({ plan: dead.queue, exchange: null, letters: true, ordered: false, holdsMs: 0, attempts: 0 }, true);
  };
  for (const { topic, group, holdsMs, attempts } of subjects) {
    const exchange = mapping.exchange(topic.name);
    const { ordered } = topic;
    const works = worksOf(mapping.at(topic.name));
    const work = group === null ? works.groups : works.own;
    const ours = work === "make" || work === "compare";
    if (exchange !== null) exchanges.set(exchange.name, { plan: exchange, made: works.exchange === "make" });
    const common = { exchange: exchange?.name ?? null, ordered, holdsMs, attempts };
    if (exchange === null) {
      const letters = topic.groups.length > 0 && topic.groups.every((one) => one === DEAD_LETTERS);
      add({ ...common, plan: mapping.queue(topic, letters ? DEAD_LETTERS : null), letters }, ours);
      continue;
    }
    // Whose groups are others' may not even name them as they are.
    const groups = works.groups === "leave" ? [] : topic.groups;
    for (const one of group === null ? groups : [group])
      add({ ...common, plan: mapping.queue(topic, one), letters: one === DEAD_LETTERS }, ours);
  }
  return { exchanges: [...exchanges.values()], queues: [...queues.values()] };
}
