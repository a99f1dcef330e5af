import type { Percentiles } from "./latency.ts";
import type { LedgerOp } from "./lines.ts";
import type { Timeline } from "./timeline.ts";

/**
 * INVALID: at least one violation that no missing evidence could have feigned. UNKNOWN: none, but the evidence is not
 * whole, so that nothing follows from it. VALID: whole evidence, and everything comes even.
 */
export type LedgerVerdict = "VALID" | "INVALID" | "UNKNOWN";

/**
 * - LOST: accepted, no effect, no dead letter.
 * - DUPLICATE: more than one effect.
 * - GHOST: an effect or a dead letter of an id that nobody published.
 * - FALSE-REJECT: every call for the id was rejected as definite, and it took effect.
 * - CORRUPT: an effect's body hash differs from the published one.
 * - ORDER: two ids of one process and key (calls with `key` and `seq`) had their first effects the other way round.
 * - STUCK: something is left in an outbox or a queue.
 */
export type Violation = "LOST" | "DUPLICATE" | "GHOST" | "FALSE-REJECT" | "CORRUPT" | "ORDER" | "STUCK";
/** In the order of the report. */
export const VIOLATIONS: readonly Violation[] = [
  "LOST",
  "DUPLICATE",
  "GHOST",
  "FALSE-REJECT",
  "CORRUPT",
  "ORDER",
  "STUCK",
];

/** Whose hands a lost message was in: never confirmed, confirmed but not delivered, delivered without effect. */
export type Blame = "outbox" | "broker" | "consumer";

/** One message (or outbox, or queue) that breaks the rule. */
export interface Offender {
  readonly violation: Violation;
  /** The message's id; for STUCK the name of the outbox or queue. */
  readonly id: string;
  /** Of a lost one; null of others. */
  readonly blame: Blame | null;
  readonly detail: string;
}

/**
 * Why the evidence is not whole. `log`: a process's file; `dump`: the final state; `heal`: no heal before it;
 * `coverage`: the run did not do what it was to do. Only the first three can feign a violation.
 */
export interface Doubt {
  readonly kind: "log" | "dump" | "heal" | "coverage";
  readonly reason: string;
}

/** What `judge()` found; plain data, fit for JSON. */
export interface LedgerReport {
  readonly verdict: LedgerVerdict;
  /** VALID 0, INVALID 1, UNKNOWN 2. */
  readonly exitCode: 0 | 1 | 2;
  /** All of them, also where the verdict does not hold them against anybody. */
  readonly counts: Readonly<Record<Violation, number>>;
  /** Of the lost ones, by whose hands they were in. */
  readonly lostBy: Readonly<Record<Blame, number>>;
  /** At most `offenders` of each violation. */
  readonly offenders: readonly Offender[];
  /** At most 100; `doubtCount` says how many there were. */
  readonly doubts: readonly Doubt[];
  readonly doubtCount: number;
  readonly totals: Totals;
  /** Lines of each operation, in all files. */
  readonly ops: Readonly<Partial<Record<LedgerOp["op"], number>>>;
  /** What was seen of the things that a good run must meet, and how often. */
  readonly sometimes: Readonly<Record<string, number>>;
  readonly latency: {
    /** `invoke` to `accepted`. */
    readonly publish: Percentiles | null;
    /** First `invoke` to first `effect` line, when both processes read one clock. */
    readonly effect: Percentiles | null;
  };
  readonly timeline: Timeline;
}

/** Ids, unless it says otherwise. */
export interface Totals {
  readonly invoked: number;
  readonly accepted: number;
  /** Every call was rejected as definite. */
  readonly rejected: number;
  /** Published, with no answer that decides: they may take effect or not. */
  readonly unknown: number;
  /** Of the unknown, those that took effect. */
  readonly unknownWithEffect: number;
  readonly withEffect: number;
  readonly deadLetters: number;
  /** Dead-lettered and with effect. */
  readonly both: number;
  /** Published with two different bodies; their effects' bodies are not judged. */
  readonly conflictingBodies: number;
  /** Effects beyond the first of their id. */
  readonly duplicateEffects: number;
  /** Deliveries beyond the first of their id, as the consumers logged them. */
  readonly duplicateDeliveries: number;
  /** Calls that resolved because their row was stored. */
  readonly spilled: number;
  readonly resends: number;
  /** Faults that met messages in flight. */
  readonly faults: number;
  /** Faults that met none. */
  readonly idleFaults: number;
  readonly kills: number;
  /** Messages left in outboxes and queues. */
  readonly remaining: number;
  readonly files: number;
  readonly lines: number;
  /** From the first to the last line of the run. */
  readonly seconds: number;
}

/** The report as a terminal shows it. */
export function formatReport(report: LedgerReport): string {
  const { totals, counts, latency } = report;
  const rows: [string, string][] = [
    ["invoked", n(totals.invoked)],
    ["accepted", n(totals.accepted)],
    ["rejected", n(totals.rejected)],
    ["unknown", `${n(totals.unknown)} (${n(totals.unknownWithEffect)} took effect)`],
    ["dead letters", n(totals.deadLetters)],
    ["duplicate deliveries", n(totals.duplicateDeliveries)],
    ["resends", n(totals.resends)],
    [
      "faults",
      totals.idleFaults === 0
        ? n(totals.faults)
        : `${n(totals.faults)} (and ${n(totals.idleFaults)} with nothing in flight)`,
    ],
  ];
  for (const [name, p] of [
    ["publish ms", latency.publish],
    ["effect ms", latency.effect],
  ] as const) {
    if (p !== null) rows.push([name, `p50 ${ms(p.p50)} · p95 ${ms(p.p95)} · p99 ${ms(p.p99)} · max ${ms(p.max)}`]);
  }
  for (const violation of VIOLATIONS) rows.push([violation, n(counts[violation])]);
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
  if (counts.LOST > 0) {
    const { outbox, broker, consumer } = report.lostBy;
    lines.push(`lost by: outbox ${n(outbox)}, broker ${n(broker)}, consumer ${n(consumer)}`);
  }
  for (const offender of report.offenders.slice(0, 10)) {
    lines.push(`  ${offender.violation} ${JSON.stringify(offender.id)}: ${offender.detail}`);
  }
  for (const doubt of report.doubts.slice(0, 10)) lines.push(`  not known: ${doubt.reason}`);
  if (report.doubtCount > 10) lines.push(`  and ${n(report.doubtCount - 10)} more`);
  lines.push(`verdict: ${report.verdict}`);
  return lines.join("\n");
}

function n(count: number): string {
  return count.toLocaleString("en-US");
}

function ms(value: number): string {
  return value < 10 ? value.toFixed(1) : n(Math.round(value));
}
