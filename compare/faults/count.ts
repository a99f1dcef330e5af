import { LedgerReader } from "@tallymq/testkit/ledger";

/** What a client's process wrote down: each line is on disk before the next call, so a crash takes none away. */
export interface Answers {
  readonly invoked: ReadonlySet<string>;
  readonly resolved: ReadonlySet<string>;
  readonly rejected: ReadonlySet<string>;
  /** Microseconds of the host's monotonic clock: the first call, the last answer; equal without any. */
  readonly from: number;
  readonly until: number;
}

export interface Counts {
  /** `publish()` said that it is published. */
  readonly resolved: number;
  /** Of those, not in the queue. */
  readonly lost: number;
  readonly rejected: number;
  /** Of those, in the queue all the same: a rejection is no proof that nothing was sent. */
  readonly rejectedThere: number;
  /** Never answered. */
  readonly unanswered: number;
  /** Copies in the queue beyond the first of each. */
  readonly duplicated: number;
}

export function answersOf(folder: string, proc: string): Answers {
  const [invoked, resolved, rejected] = [new Set<string>(), new Set<string>(), new Set<string>()];
  let [from, until] = [0, 0];
  const reader = new LedgerReader(folder);
  for (const name of reader.names.filter((each) => each.split(".")[1] === proc)) {
    reader.read(name, (line) => {
      if (line.op !== "invoke" && line.op !== "accepted" && line.op !== "rejected") return;
      if (line.op === "invoke") invoked.add(line.id);
      else (line.op === "accepted" ? resolved : rejected).add(line.id);
      if (from === 0) from = line.mono;
      until = line.mono;
    });
  }
  return { invoked, resolved, rejected, from, until };
}

/** @param messages how many were to be published; those that a crash kept from being called are unanswered too */
export function countsOf(
  { resolved, rejected }: Answers,
  copies: ReadonlyMap<string, number>,
  messages: number,
): Counts {
  let lost = 0;
  for (const id of resolved) if (!copies.has(id)) lost++;
  let rejectedThere = 0;
  for (const id of rejected) if (copies.has(id)) rejectedThere++;
  return {
    resolved: resolved.size,
    lost,
    rejected: rejected.size,
    rejectedThere,
    unanswered: messages - resolved.size - rejected.size,
    duplicated: extra(copies.values()),
  };
}

/** What there is beyond one of each. */
export function extra(counts: Iterable<number>): number {
  let more = 0;
  for (const n of counts) more += n - 1;
  return more;
}
