// Small runs written as data: what each process logs, and what the stores hold at the end.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
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

export const accepted = (id: string, h = `h-${id}`): LedgerOp[] => [
  { op: "invoke", id, h },
  { op: "confirmed", id },
  { op: "accepted", id, state: "confirmed" },
];
export const consumed = (id: string): LedgerOp[] => [
  { op: "deliver", id },
  { op: "effect", id },
  { op: "acked", id },
];

/** Two messages, both accepted and both with one effect: everything comes even. */
export const even: Run = {
  logs: [
    { proc: "pub", epoch: 1, ends: true, ops: [...accepted("a"), ...accepted("b")] },
    { proc: "con", epoch: 1, ends: true, ops: [...consumed("a"), ...consumed("b")] },
    {
      proc: "director",
      epoch: 1,
      ends: true,
      ops: [{ op: "fault-begin", kind: "cut", inflight: 2 }, { op: "fault-end", kind: "cut" }, { op: "heal" }],
    },
  ],
  effects: [
    { id: "a", commit: 1, bodyHash: "h-a" },
    { id: "b", commit: 2, bodyHash: "h-b" },
  ],
  deadLetters: [],
  remaining: [
    { where: "queue", name: "q", n: 0 },
    { where: "outbox", name: "o", n: 0 },
  ],
};

/** Changes a file of the folder after it was written. */
export const edit =
  (file: string, change: (text: string) => string) =>
  async (folder: string): Promise<void> => {
    const path = join(folder, file);
    await writeFile(path, change(await readFile(path, "utf8")));
  };

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
