import { Evidence } from "./evidence.ts";
import { nameOf } from "./files.ts";
import type { FinalState } from "./final.ts";
import type { Incarnation } from "./lines.ts";
import { LedgerReader } from "./reader.ts";
import type { LedgerFile } from "./reader.ts";
import type { Doubt, LedgerReport, LedgerVerdict } from "./report.ts";
import { sometimesSeen } from "./sometimes.ts";
import { violationsOf } from "./violations.ts";

export interface JudgeOptions {
  /** Holds the files of exactly one run. */
  readonly folder: string;
  /** Read from the stores and the broker after the heal. @default the dump that `writeFinal` left in the folder */
  readonly final?: FinalState;
  readonly expect?: Expectation;
  /** Offenders listed of each violation; all are counted. @default 100 */
  readonly offenders?: number;
}

/** What a run must have met to mean something; less is UNKNOWN, never VALID. */
export interface Expectation {
  /** Faults with messages in flight, at least. @default 0 */
  readonly faults?: number;
  /** Names as in the report's `sometimes`. @default none */
  readonly sometimes?: readonly string[];
  /** Every incarnation that was started: one without a file is missed. @default those that have one */
  readonly incarnations?: readonly Incarnation[];
}

const MAX_DOUBTS = 100;
const EXIT: Readonly<Record<LedgerVerdict, 0 | 1 | 2>> = { VALID: 0, INVALID: 1, UNKNOWN: 2 };

/**
 * Judges a run by what the consumers' store and the broker hold at its end. A publisher is believed in one thing
 * only: that `publish()` resolved (`accepted`). What it says about confirms serves to say in whose hands a message
 * was lost, never whether.
 *
 * @throws the file system's error when the folder cannot be read, and what the final state's iterators throw;
 * nothing that stands in a file makes it throw.
 */
export async function judge(options: JudgeOptions): Promise<LedgerReport> {
  const { folder, final, expect = {}, offenders: listed = 100 } = options;
  const evidence = new Evidence();
  const doubts = new Doubts();

  const reader = new LedgerReader(folder);
  const files = reader.names.map((name) => {
    evidence.beginFile();
    const file = reader.read(name, (line) => evidence.line(line));
    evidence.endFile(file.lastMono);
    return file;
  });
  doubtFiles(files, reader.strangers, evidence, expect, doubts);
  await takeFinal(final, evidence, doubts);
  doubtHeal(evidence, doubts);
  evidence.compareBodies();

  const found = violationsOf(evidence, listed);
  if (found.acceptedUninvoked > 0) doubts.add("log", `${found.acceptedUninvoked} ids were accepted but never invoked`);
  const sometimes = sometimesSeen(evidence);
  if (found.totals.accepted === 0) doubts.add("coverage", "nothing was accepted");
  if (evidence.faults < (expect.faults ?? 0)) {
    doubts.add("coverage", `${evidence.faults} faults met messages in flight, ${expect.faults} were asked for`);
  }
  for (const name of expect.sometimes ?? []) {
    if (!Object.hasOwn(sometimes, name)) doubts.add("coverage", `never seen: ${name}`);
  }

  // A violation counts only if the evidence that is missing could not have feigned it. A lost log line makes a GHOST
  // or a FALSE-REJECT out of an honest run (the invoke, or a second call, is what is missing), but it takes no effect
  // away and doubles none; a missing dump takes all effects away; before the heal a message is late, not lost.
  const logs = !doubts.has("log");
  const healed = !doubts.has("heal");
  const { LOST, DUPLICATE, GHOST, CORRUPT, ORDER, STUCK } = found.counts;
  const proven =
    !doubts.has("dump") &&
    (DUPLICATE > 0 ||
      (healed && LOST + STUCK > 0) ||
      (logs && GHOST + CORRUPT + ORDER + found.counts["FALSE-REJECT"] > 0));
  const verdict: LedgerVerdict = proven ? "INVALID" : doubts.count > 0 ? "UNKNOWN" : "VALID";

  const span = evidence.lastMono - evidence.firstMono;
  return {
    verdict,
    exitCode: EXIT[verdict],
    counts: found.counts,
    lostBy: found.lostBy,
    offenders: found.offenders,
    doubts: doubts.list,
    doubtCount: doubts.count,
    totals: {
      ...found.totals,
      spilled: evidence.spilled,
      resends: evidence.ops.get("resent") ?? 0,
      faults: evidence.faults,
      idleFaults: evidence.idleFaults,
      kills: evidence.killed.size,
      remaining: evidence.remaining.reduce((sum, { n }) => sum + n, 0),
      files: files.length,
      lines: files.reduce((sum, { lines }) => sum + lines, 0),
      seconds: span > 0 ? span / 1e6 : 0,
    },
    ops: Object.fromEntries(evidence.ops),
    sometimes,
    latency: { publish: evidence.publishLatency.percentiles(), effect: found.effectLatency },
    timeline: evidence.timeline.timeline(),
  };
}

class Doubts {
  readonly list: Doubt[] = [];
  count = 0;
  readonly #kinds: Set<Doubt["kind"]> = new Set();

  add(kind: Doubt["kind"], reason: string): void {
    this.count += 1;
    this.#kinds.add(kind);
    if (this.list.length < MAX_DOUBTS) this.list.push({ kind, reason });
  }

  has(kind: Doubt["kind"]): boolean {
    return this.#kinds.has(kind);
  }
}

function doubtFiles(
  files: readonly LedgerFile[],
  strangers: readonly string[],
  evidence: Evidence,
  expect: Expectation,
  doubts: Doubts,
): void {
  const present = new Set(files.map(nameOf));
  if (files.length === 0) doubts.add("log", "the folder has no ledger files");
  if (new Set(files.map(({ run }) => run)).size > 1) doubts.add("log", "the folder has files of more than one run");
  for (const name of strangers) doubts.add("log", `${JSON.stringify(name)} is not the name of a ledger file`);

  for (const file of files) {
    const name = nameOf(file);
    for (const problem of file.problems) doubts.add("log", `${name}: ${problem}`);
    if (evidence.killed.has(name)) continue; // a kill excuses a missing end and half a line at it
    if (file.torn) doubts.add("log", `${name}: the last line is torn, and no kill of it is recorded`);
    if (!file.ended) doubts.add("log", `${name}: has no end, and no kill of it is recorded`);
  }
  // Epochs count from 1, so a file that was removed from the middle shows even if nobody named it.
  const needed = new Map(
    [...evidence.killed.values(), ...(expect.incarnations ?? [])].map((one) => [nameOf(one), one]),
  );
  for (const { proc, epoch } of files) {
    const before = { proc, epoch: epoch - 1 };
    if (epoch > 1) needed.set(nameOf(before), before);
  }
  for (const name of needed.keys()) if (!present.has(name)) doubts.add("log", `${name}: has no file`);
}

async function takeFinal(final: FinalState | undefined, evidence: Evidence, doubts: Doubts): Promise<void> {
  const seen = (op: "final-effect" | "final-dlq" | "final-queue" | "final-outbox"): number => evidence.ops.get(op) ?? 0;
  const logged =
    seen("final-effect") + seen("final-dlq") + seen("final-queue") + seen("final-outbox") + evidence.dumps.length;
  if (final !== undefined) {
    if (logged > 0) doubts.add("dump", "the final state is given twice: in the folder and in the call");
    for await (const row of final.effects) evidence.effect(row);
    for await (const id of final.deadLetters) evidence.deadLetter(id);
    for await (const remaining of final.remaining) evidence.left(remaining);
    return;
  }
  const [dump] = evidence.dumps;
  if (dump === undefined || evidence.dumps.length > 1) {
    return doubts.add("dump", dump === undefined ? "there is no final state" : "there are several final states");
  }
  const whole =
    dump.effects === seen("final-effect") &&
    dump.dlq === seen("final-dlq") &&
    dump.queues === seen("final-queue") &&
    dump.outboxes === seen("final-outbox");
  if (!whole) doubts.add("dump", "the final state does not have the rows that it says it has");
}

function doubtHeal(evidence: Evidence, doubts: Doubts): void {
  if (evidence.heals === 0) doubts.add("heal", "there is no heal");
  if (evidence.faultsAfterHeal > 0) doubts.add("heal", `${evidence.faultsAfterHeal} faults began after the heal`);
  if (evidence.dumpBeforeHeal) doubts.add("heal", "the final state was taken before the heal");
}
