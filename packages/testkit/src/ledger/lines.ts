/**
 * What a ledger file holds: one JSON object a line, each with the same envelope and one operation.
 *
 * The format is a contract between processes that were killed and a checker that runs later, so a line is
 * checked field by field when it is read: a line that is not exactly one of these is evidence of nothing.
 */

/** One life of a process: epoch 1 is the first, and each restart takes the next. */
export interface Incarnation {
  readonly proc: string;
  readonly epoch: number;
}

/** What stands on every line besides the operation. */
export interface Envelope extends Incarnation {
  readonly v: 1;
  readonly run: string;
  /** 1, 2, 3 … without a gap within one file: a gap says that evidence is missing. */
  readonly i: number;
  /** Monotonic time in microseconds; by default the host's clock, so that processes of one host can be compared. */
  readonly mono: number;
}

type Maybe<T> = T | null | undefined;

/** One thing that happened. Write `invoke` *before* the call, and everything else after it is so. */
export type LedgerOp =
  // ── the publisher's side ──
  /**
   * `publish()` is about to be called. `h`: hash of the body, in any notation, the same as in the effect store. `seq`: the
   * calls of this incarnation in their order; with it and a `key` the order of effects is judged.
   */
  | {
      readonly op: "invoke";
      readonly id: string;
      readonly key?: Maybe<string>;
      readonly seq?: Maybe<number>;
      readonly h?: Maybe<string>;
    }
  /** `publish()` resolved: the promise that the judge holds everybody to. */
  | {
      readonly op: "accepted";
      readonly id: string;
      readonly state?: Maybe<"confirmed" | "stored">;
      readonly att?: Maybe<number>;
    }
  /** `publish()` rejected. `definite`: no copy may ever take effect (`mayArrive` was false). */
  | { readonly op: "rejected"; readonly id: string; readonly definite: boolean; readonly err?: Maybe<string> }
  /** `publish()` ended without saying either. */
  | { readonly op: "unknown"; readonly id: string; readonly err?: Maybe<string> }
  /** The broker confirmed a copy (also one that the relay sent). */
  | { readonly op: "confirmed"; readonly id: string; readonly att?: Maybe<number> }
  | { readonly op: "returned"; readonly id: string }
  /** One more copy was put on the wire. */
  | { readonly op: "resent"; readonly id: string; readonly att?: Maybe<number> }
  // ── the consumer's side ──
  | { readonly op: "deliver"; readonly id: string; readonly redelivered?: Maybe<boolean>; readonly att?: Maybe<number> }
  /** The consumer believes that its effect is durable: for latency and timeline; the effect store alone is counted. */
  | { readonly op: "effect"; readonly id: string }
  | { readonly op: "dedup"; readonly id: string }
  | { readonly op: "retry"; readonly id: string; readonly att?: Maybe<number> }
  | { readonly op: "dead"; readonly id: string; readonly reason: string }
  | { readonly op: "acked"; readonly id: string }
  // ── what a person would be told, and the machine's state ──
  | { readonly op: "surfaced"; readonly kind: string; readonly id?: Maybe<string> }
  | {
      readonly op: "mem";
      readonly rss: number;
      readonly heap: number;
      readonly inflight: number;
      readonly outbox: number;
    }
  // ── the director's side ──
  /**
   * A fault starts. `victim`: the incarnation that is killed, which is what excuses its missing `end`; write the
   * line before the signal. `inflight`: messages in flight at that moment; a fault at 0 hit nobody and does not count.
   */
  | {
      readonly op: "fault-begin";
      readonly kind: string;
      readonly victim?: Maybe<Incarnation>;
      readonly inflight?: Maybe<number>;
    }
  | { readonly op: "fault-end"; readonly kind: string }
  /** The last fault is over; from here everything must come even. */
  | { readonly op: "heal" }
  | {
      readonly op: "final-effect";
      readonly id: string;
      readonly n: number;
      readonly commit: number;
      readonly h?: Maybe<string>;
    }
  | { readonly op: "final-dlq"; readonly id: string }
  | { readonly op: "final-queue"; readonly name: string; readonly n: number; readonly ids?: Maybe<readonly string[]> }
  | { readonly op: "final-outbox"; readonly name: string; readonly n: number; readonly ids?: Maybe<readonly string[]> }
  /** The dump above is whole: how many lines of each kind it has. */
  | {
      readonly op: "final";
      readonly effects: number;
      readonly dlq: number;
      readonly queues: number;
      readonly outboxes: number;
    }
  /** The last line of a process that ended by itself. */
  | { readonly op: "end" };

export type LedgerLine = Envelope & LedgerOp;

type Check = (value: unknown) => boolean;
const text: Check = (value) => typeof value === "string" && value.length > 0;
const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const flag: Check = (value) => typeof value === "boolean";
const texts: Check = (value) => Array.isArray(value) && value.every(text);
const incarnation: Check = (value) => {
  if (typeof value !== "object" || value === null) return false;
  const { proc, epoch } = value as Partial<Incarnation>;
  return text(proc) && count(epoch) && epoch !== 0;
};
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || value === null || check(value);
const anyText: Check = maybe((value) => typeof value === "string");

const FIELDS: {
  readonly [O in LedgerOp["op"]]: Readonly<Record<Exclude<keyof Extract<LedgerOp, { op: O }>, "op">, Check>>;
} = {
  invoke: { id: text, key: anyText, seq: maybe(count), h: anyText },
  accepted: { id: text, state: maybe((value) => value === "confirmed" || value === "stored"), att: maybe(count) },
  rejected: { id: text, definite: flag, err: anyText },
  unknown: { id: text, err: anyText },
  confirmed: { id: text, att: maybe(count) },
  returned: { id: text },
  resent: { id: text, att: maybe(count) },
  deliver: { id: text, redelivered: maybe(flag), att: maybe(count) },
  effect: { id: text },
  dedup: { id: text },
  retry: { id: text, att: maybe(count) },
  dead: { id: text, reason: text },
  acked: { id: text },
  surfaced: { kind: text, id: anyText },
  mem: { rss: count, heap: count, inflight: count, outbox: count },
  "fault-begin": { kind: text, victim: maybe(incarnation), inflight: maybe(count) },
  "fault-end": { kind: text },
  heal: {},
  "final-effect": { id: text, n: count, commit: count, h: anyText },
  "final-dlq": { id: text },
  "final-queue": { name: text, n: count, ids: maybe(texts) },
  "final-outbox": { name: text, n: count, ids: maybe(texts) },
  final: { effects: count, dlq: count, queues: count, outboxes: count },
  end: {},
};
/** The same as pairs: walking an array costs a quarter of walking an object, and this runs once a line. */
const CHECKS: ReadonlyMap<string, readonly (readonly [string, Check])[]> = new Map(
  Object.entries(FIELDS).map(([op, fields]) => [op, Object.entries(fields)]),
);

/** A line as it was written, or the reason, in words, why it is not one. */
export function parseLine(line: string): LedgerLine | string {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(line);
  } catch {
    return "not JSON";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "not an object";
  if (value["v"] !== 1) return "not version 1 of the format";
  if (!text(value["run"]) || !incarnation(value)) return "run, proc or epoch is missing";
  if (!count(value["i"])) return "i is not a count";
  if (!Number.isFinite(value["mono"]) || (value["mono"] as number) < 0) return "mono is not a time";
  const checks = CHECKS.get(value["op"] as string);
  if (checks === undefined) return "an operation that the format does not have";
  for (const [field, check] of checks) {
    if (!check(value[field])) return `field ${field} of ${String(value["op"])} is missing or of the wrong kind`;
  }
  return value as unknown as LedgerLine;
}
