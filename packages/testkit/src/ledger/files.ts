import type { Incarnation } from "./lines.ts";

const NAME = /^[A-Za-z0-9_-]{1,100}$/;
const FILE = /^([A-Za-z0-9_-]{1,100})\.([A-Za-z0-9_-]{1,100})\.([1-9][0-9]{0,8})\.jsonl$/;

/** @throws RangeError for a run, a process or an epoch that cannot be part of a file's name */
export function fileName(run: string, { proc, epoch }: Incarnation): string {
  for (const [what, name] of [
    ["run", run],
    ["proc", proc],
  ] as const) {
    if (!NAME.test(name)) throw new RangeError(`a ledger's ${what} has 1 to 100 letters, digits, "_" or "-"`);
  }
  if (!Number.isSafeInteger(epoch) || epoch < 1 || epoch > 999_999_999)
    throw new RangeError("a ledger's epoch is 1 or more");
  return `${run}.${proc}.${epoch}.jsonl`;
}

export function parseFileName(name: string): (Incarnation & { readonly run: string }) | null {
  const parts = FILE.exec(name);
  return parts === null ? null : { run: parts[1]!, proc: parts[2]!, epoch: Number(parts[3]) };
}

/** An incarnation as reports name it. */
export function nameOf({ proc, epoch }: Incarnation): string {
  return `${proc}#${epoch}`;
}
