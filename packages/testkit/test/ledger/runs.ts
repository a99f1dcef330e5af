// Small runs written as data: what each process logs, and what the stores hold at the end.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { judge, LedgerWriter } from "@tallymq/testkit/ledger";
import type { EffectRow, Expectation, LedgerOp, LedgerReport, Remaining } from "@tallymq/testkit/ledger";

export interface ProcessLog {
  readonly proc: string;
  readonly epoch: number;
  readonly ops: readonly LedgerOp[];
  /** Left out: the process is killed and has no `end`. */
  readonly ends: boolean;
}

export interface Run {
  readonly logs: readonly ProcessLog[];
  readonly effects: readonly EffectRow[];
  readonly deadLetters: readonly string[];
  readonly remaining: readonly Remaining[];
}

/** Changes a run's file after it was written: gets and gives its bytes. */
export type Damage = { readonly file: string; readonly change: (bytes: Buffer) => Buffer | null };

export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "ledger-"));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export function writeLogs(folder: string, logs: readonly ProcessLog[]): void {
  let mono = 0;
  for (const { proc, epoch, ops, ends } of logs) {
    const writer = new LedgerWriter({ folder, run: "run", proc, epoch, now: () => (mono += 10) });
    for (const op of ops) writer.write(op);
    if (ends) writer.close();
  }
}

export function judged(
  run: Run,
  expect: Expectation = {},
  damage?: (folder: string) => Promise<void>,
): Promise<LedgerReport> {
  return inFolder(async (folder) => {
    writeLogs(folder, run.logs);
    await damage?.(folder);
    return judge({ folder, final: run, expect });
  });
}
