import {
  judge,
  type Incarnation,
  type LedgerReport,
  type LedgerVerdict,
  type Violation,
  VIOLATIONS,
} from "@tallymq/testkit/ledger";
import type { BrokerName, ClientName, Settings, StoreName } from "./arguments.ts";
import type { Client } from "./clients/client.ts";
import type { FaultRecord } from "./faults/director.ts";
import { type Timeline, type TimelineFault, timelineOf } from "./report/timeline.ts";

/** What `--json` writes, exactly. */
export interface Figures {
  readonly broker: BrokerName;
  readonly store: StoreName;
  readonly client: ClientName;
  readonly accepted: number;
  readonly lost: number;
  readonly rejected: number;
  readonly duplicateDeliveries: number;
  readonly duplicateEffects: number;
  readonly resends: number;
  readonly spilled: number;
  /** Those that hit messages in flight. */
  readonly faults: number;
  readonly seconds: number;
  readonly verdict: LedgerVerdict;
}

export interface DemoReport {
  readonly settings: Settings;
  readonly brokerTitle: string;
  readonly figures: Figures;
  readonly exitCode: 0 | 1 | 2;
  /** Why the verdict is not VALID, in words. */
  readonly reasons: readonly string[];
  readonly ledger: LedgerReport;
  readonly timeline: Timeline;
  /** Logs, effects and the broker's data; gone if the verdict is VALID. */
  readonly folder: string;
}

export interface Evidence {
  readonly settings: Settings;
  readonly brokerTitle: string;
  readonly folder: string;
  readonly ledger: string;
  readonly client: Client;
  readonly planned: number;
  readonly faults: readonly FaultRecord[];
  readonly incarnations: readonly Incarnation[];
  readonly seconds: number;
  readonly doubts: readonly string[];
}

const EXIT: Readonly<Record<LedgerVerdict, 0 | 1 | 2>> = { VALID: 0, INVALID: 1, UNKNOWN: 2 };

/**
 * The ledger's verdict on the messages, and on top of it what this demo demands: each order accepted (broker and
 * publishers came back each time, so there is no reason to reject or forget one), each fault fired into traffic, and a run
 * in which the faults left a mark. A run that demands cannot be told of is UNKNOWN; it is never passed over.
 */
export async function judgeRun(evidence: Evidence): Promise<DemoReport> {
  const { settings, client, planned, faults, incarnations } = evidence;
  const report = await judge({ folder: evidence.ledger, expect: { faults: planned, incarnations } });
  const timeline = timelineOf(evidence.ledger, faults);
  const { totals, counts, ops } = report;
  const { resends } = totals;
  const rejected = (ops.rejected ?? 0) + (ops.unknown ?? 0);
  // A publisher that was killed has these in its ledger without an answer: it was to publish them again. In a run that was
  // cut short (no heal) they may just have been on their way.
  const forgotten = rejected > 0 || (ops.heal ?? 0) === 0 ? 0 : totals.invoked - totals.accepted;

  const wrong: string[] = VIOLATIONS.filter((violation) => counts[violation] > 0).map((violation) =>
    inWords(violation, report),
  );
  if (rejected > 0)
    wrong.push(
      `${rejected} of ${totals.invoked} calls of publish() were rejected, although the broker came back each time`,
    );

  if (forgotten > 0)
    wrong.push(
      `${forgotten} of ${totals.invoked} messages were never accepted: their publisher was killed, and has not published them again`,
    );

  const doubts: string[] = [...evidence.doubts, ...report.doubts.map(({ reason }) => reason)];
  if (faults.length < planned)
    doubts.push(
      `${planned - faults.length} of ${planned} faults never met a moment with enough messages in flight, and were not fired`,
    );
  // What the processes told the director was some milliseconds old; their ledgers know what it was at the blow.
  for (const fault of timeline.faults) {
    const idle = idleBy(fault, client);
    if (idle !== null) doubts.push(`${fault.kind} hit an idle moment: by the ledger ${idle}`);
  }
  if (totals.invoked !== settings.messages)
    doubts.push(`${totals.invoked} of ${settings.messages} messages were published`);
  // On Kafka the client repeats in place, unseen.
  const again = resends > 0 || settings.broker === "kafka";
  const bitten = totals.duplicateDeliveries > 0 && (!client.countsResends || again);
  if (!bitten)
    doubts.push(`the faults did not bite: ${resends} resends, ${totals.duplicateDeliveries} duplicate deliveries`);
  const away = faults.some(({ kind }) => kind === "broker-away");
  if (settings.store !== "none" && away && totals.spilled === 0)
    doubts.push("the broker was away, and no message was stored meanwhile");

  // What the ledger proved stays proved, and a rejection needs no proof; any other doubt leaves nothing to say.
  const verdict: LedgerVerdict =
    report.verdict === "INVALID" || rejected + forgotten > 0
      ? "INVALID"
      : doubts.length > 0
        ? "UNKNOWN"
        : report.verdict;
  return {
    settings,
    brokerTitle: evidence.brokerTitle,
    figures: {
      broker: settings.broker,
      store: settings.store,
      client: settings.client,
      accepted: totals.accepted,
      lost: counts.LOST,
      rejected,
      duplicateDeliveries: totals.duplicateDeliveries,
      duplicateEffects: totals.duplicateEffects,
      resends,
      spilled: totals.spilled,
      faults: totals.faults,
      seconds: Math.round(evidence.seconds * 10) / 10,
      verdict,
    },
    exitCode: EXIT[verdict],
    // What is wrong in a run that proves nothing may be no more than what is missing of it.
    reasons: verdict === "VALID" ? [] : verdict === "INVALID" ? [...wrong, ...doubts] : [...doubts, ...wrong],
    ledger: report,
    timeline,
    folder: evidence.folder,
  };
}

function idleBy(fault: TimelineFault, { awaitsAnswer }: Client): string | null {
  const { kind, inFlight, publishing, victim, handling, waiting } = fault;
  if (kind === "relay-killed") return waiting > 0 ? null : "no row was waiting";
  if (inFlight <= 0) return "nothing was in flight";
  if (kind === "consumer-killed") return handling > 0 ? null : `no handler of ${victim?.proc} was running`;
  return publishing > 0 || !awaitsAnswer ? null : "each call of publish() had its answer";
}

const WORDS: Readonly<Record<Violation, string>> = {
  LOST: "accepted, and never took effect",
  DUPLICATE: "took effect more than once",
  GHOST: "took effect, and nobody published them",
  "FALSE-REJECT": "were rejected for good, and took effect",
  CORRUPT: "took effect with another body than the published one",
  ORDER: "took effect before an earlier one of their key",
  STUCK: "are left in the broker's queues or the outbox",
};

function inWords(violation: Violation, { counts, lostBy, offenders }: LedgerReport): string {
  const places = [
    [lostBy.outbox, "between publish() and the broker"],
    [lostBy.broker, "in the broker, after its confirm"],
    [lostBy.consumer, "in the consumer, after the delivery"],
  ] as const;
  const where = places.filter(([n]) => n > 0).map(([n, place]) => `${n} ${place}`);
  const one = offenders.find((offender) => offender.violation === violation);
  const detail = violation === "LOST" ? where.join(", ") : one?.detail;
  return `${violation}: ${counts[violation]} ${WORDS[violation]}: ${detail} (${one?.id}, for one)`;
}
