import type { Evidence } from "./evidence.ts";
import { Latency } from "./latency.ts";
import type { Percentiles } from "./latency.ts";
import {
  ACCEPTED,
  CONFIRMED,
  CONFLICT,
  CORRUPT,
  DEAD,
  DELIVERED,
  INVOKED,
  LEFT_IN_OUTBOX,
  LEFT_IN_QUEUE,
  NONE,
} from "./messages.ts";
import type { Blame, Offender, Totals, Violation } from "./report.ts";

type MessageTotals = Omit<
  Totals,
  "spilled" | "resends" | "faults" | "idleFaults" | "kills" | "remaining" | "files" | "lines" | "seconds"
>;

export interface Found {
  readonly counts: Record<Violation, number>;
  readonly lostBy: Record<Blame, number>;
  readonly offenders: readonly Offender[];
  readonly totals: MessageTotals;
  readonly acceptedUninvoked: number;
  readonly effectLatency: Percentiles | null;
}

/** One walk over all ids; each violation is counted in full and listed up to `listed`. */
export function violationsOf(evidence: Evidence, listed: number): Found {
  const m = evidence.messages;
  const counts: Record<Violation, number> = {
    LOST: 0,
    DUPLICATE: 0,
    GHOST: 0,
    "FALSE-REJECT": 0,
    CORRUPT: 0,
    ORDER: 0,
    STUCK: 0,
  };
  const lostBy: Record<Blame, number> = { outbox: 0, broker: 0, consumer: 0 };
  const offenders: Offender[] = [];
  const effectLatency = new Latency();
  const t = {
    invoked: 0,
    accepted: 0,
    rejected: 0,
    unknown: 0,
    unknownWithEffect: 0,
    withEffect: 0,
    deadLetters: 0,
    both: 0,
    conflictingBodies: 0,
    duplicateEffects: 0,
    duplicateDeliveries: 0,
  };
  let acceptedUninvoked = 0;

  const offend = (violation: Violation, id: string, detail: string, blame: Blame | null = null): void => {
    counts[violation] += 1;
    if (counts[violation] <= listed) offenders.push({ violation, id, blame, detail });
  };

  for (const [id, row] of m.entries()) {
    const facts = m.facts[row]!;
    const effects = m.effects[row]!;
    const invoked = (facts & INVOKED) !== 0;
    const accepted = (facts & ACCEPTED) !== 0;
    const dead = (facts & DEAD) !== 0;
    // An id that a restarted process publishes again has several calls: rejected is who was rejected every time.
    const rejected = invoked && !accepted && m.rejections[row]! >= m.invokes[row]!;
    const unknown = invoked && !accepted && !rejected;

    if (invoked) t.invoked += 1;
    if (accepted) t.accepted += 1;
    if (rejected) t.rejected += 1;
    if (unknown) t.unknown += 1;
    if (unknown && effects > 0) t.unknownWithEffect += 1;
    if (effects > 0) t.withEffect += 1;
    if (dead) t.deadLetters += 1;
    if (dead && effects > 0) t.both += 1;
    if ((facts & CONFLICT) !== 0) t.conflictingBodies += 1;
    if (effects > 1) t.duplicateEffects += effects - 1;
    if (m.deliveries[row]! > 1) t.duplicateDeliveries += m.deliveries[row]! - 1;
    if (accepted && !invoked) acceptedUninvoked += 1;
    if (m.effectAt[row] !== NONE && m.firstInvokedAt[row] !== NONE)
      effectLatency.add(m.effectAt[row]! - m.firstInvokedAt[row]!);

    if (invoked && accepted && effects === 0 && !dead) {
      const [blame, detail] = blameFor(facts);
      lostBy[blame] += 1;
      offend("LOST", id, detail, blame);
    }
    if (effects > 1) offend("DUPLICATE", id, `${effects} effects of ${m.deliveries[row]} deliveries`);
    if (!invoked && (effects > 0 || dead))
      offend("GHOST", id, `${effects > 0 ? "an effect" : "a dead letter"} that nobody published`);
    if (rejected && effects > 0) offend("FALSE-REJECT", id, "rejected as definite, and it took effect");
    if ((facts & CORRUPT) !== 0) offend("CORRUPT", id, "the effect's body is not the published one");
  }
  const inOrder = (row: number): boolean => m.invokes[row] === 1 && (m.facts[row]! & DEAD) === 0;
  const overtakers = [...evidence.order.overtaken(inOrder)];
  if (overtakers.length > 0) {
    const names = [...m.entries()].map(([id]) => id);
    for (const { row, before, key } of overtakers)
      offend(
        "ORDER",
        names[row]!,
        `of key ${JSON.stringify(key)}: its effect came before that of ${names[before]}, published earlier`,
      );
  }
  // Messages are counted, places are listed.
  for (const { where, name, n } of evidence.remaining.filter((place) => place.n > 0)) {
    counts.STUCK += n;
    const places = offenders.filter(({ violation }) => violation === "STUCK").length;
    if (places < listed)
      offenders.push({
        violation: "STUCK",
        id: name,
        blame: null,
        detail: `${n} left in ${where} ${JSON.stringify(name)}`,
      });
  }
  return { counts, lostBy, offenders, totals: t, acceptedUninvoked, effectLatency: effectLatency.percentiles() };
}

/** Where a lost message was seen last, from the consumer's end backwards. */
function blameFor(facts: number): [Blame, string] {
  if ((facts & DELIVERED) !== 0) return ["consumer", "delivered, and it took no effect"];
  if ((facts & LEFT_IN_QUEUE) !== 0) return ["broker", "still in a queue"];
  if ((facts & LEFT_IN_OUTBOX) !== 0) return ["outbox", "still in an outbox"];
  if ((facts & CONFIRMED) !== 0) return ["broker", "confirmed, and never delivered"];
  return ["outbox", "accepted, and never confirmed"];
}
