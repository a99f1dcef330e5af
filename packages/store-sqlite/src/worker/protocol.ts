// What the two threads say to each other. Each message to the worker is the list of one tick's requests; each message back is the
// list of what one commit (or one look) answered. Both lists are flat, three entries an item: an object for each, with its names
// spelled out each time, took as long as a statement.

import type { ErrorCode } from "@tallymq/core/spi";

/** `n, op, args` of each request. */
export type Requests = readonly unknown[];

export interface Request {
  readonly n: number;
  /** An operation's name, or one of {@link TURN}. */
  readonly op: string | number;
  /** As the operation says. */
  readonly args: unknown;
}

/** A claim's keys, {@link ASK_WIDTH} entries each: `group, topic, producer, id, bodyHash, behind`. */
export interface ClaimArgs {
  readonly asks: readonly unknown[];
  readonly leaseMs: number;
  readonly now: Now;
}
export const ASK_WIDTH = 6;
/** {@link CLAIM_WIDTH} entries each: the state, and its number (`attempt` of `fresh`, `leftMs` of `busy`) or reason, and the fence of `fresh`. */
export type ClaimAnswers = readonly unknown[];
export const CLAIM_WIDTH = 3;

/** What a handler's turn asks. Their arguments are tuples: there are several for each message. */
export const TURN = { enter: 1, sql: 2, put: 3, leave: 4, commit: 5 } as const;

/** The claim's key and fence, and whether a wave begins with it: all turns before have left. */
export type EnterArgs = readonly [
  turn: number,
  fence: number,
  first: boolean,
  group: string,
  topic: string,
  producer: string,
  id: string,
  bodyHash: bigint,
];
export type SqlArgs = readonly [turn: number, how: "all" | "get" | "run", text: string, params: unknown];
/** What `run` of a statement is answered. */
export type Ran = readonly [changes: number | bigint, lastInsertRowid: number | bigint];
export type TurnPutArgs = readonly [turn: number, batch: PutArgs];
export type LeaveArgs = readonly [turn: number, done: boolean];

/** `n, kind, what` of each reply; the kind is one of {@link REPLY}, and `n` of what is surfaced is -1. */
export type Replies = readonly unknown[];
export const REPLY = { value: 0, failure: 1, surfaced: 2 } as const;
/** Entries of a request, or a reply. */
export const WIDTH = 3;

export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly mayArrive: boolean;
  readonly sqlite: SqliteError | null;
}

/** What node:sqlite said, field by field. */
export interface SqliteError {
  readonly message: string;
  readonly errcode: number;
  readonly errstr: string;
}

export interface OpenArgs {
  readonly kind: "outbox" | "inbox";
  readonly path: string;
  readonly maxBytes: number;
  readonly processes: "many" | "one";
  readonly maxParked: number;
  readonly keepFor: number;
  /** For a store that is made now. */
  readonly id: string;
  readonly now: Now;
}

/** Time as the main thread's clock has it, moved to an origin that all processes since this boot share. */
export interface Now {
  readonly wall: number;
  readonly monotonic: number;
}

/** Result codes of a put, one byte a row. */
export const PUT = { stored: 0, same: 1, conflict: 2, full: 3 } as const;

export interface PutArgs {
  readonly bytes: ArrayBuffer;
  /** Bytes of its records, which come first. */
  readonly used: number;
  /** Bytes behind them: what short ones have in common. */
  readonly common: number;
  readonly rows: number;
  readonly wall: number;
  /** Bytes of all batches that waited for their answers at once lately, this one included; 0: nobody waits for more than this. */
  readonly waiting: number;
}

export interface PutAnswer {
  /** One of {@link PUT} a row. */
  readonly codes: Uint8Array;
  /** What the rows came in, for the next ones. */
  readonly buffer: ArrayBuffer;
}

/**
 * Records on their way back: one behind the other in `bytes`, and of each {@link RECORD_WIDTH} numbers: its place, when it was
 * stored, and where it ends.
 */
export interface Records {
  readonly numbers: Float64Array;
  readonly bytes: ArrayBuffer;
}
export const RECORD_WIDTH = 3;

/** What a turn may leave with: its handler is to be begun anew. */
export const AGAIN = "again";

/** What an operation answers, with the buffers that move along. */
export interface Answer {
  readonly value: unknown;
  readonly transfer?: readonly ArrayBuffer[];
  /** Changes in memory that must not happen before the commit. */
  readonly committed?: () => void;
}

/**
 * - `write`: runs in a transaction and is answered after its fsync.
 * - `relay`: runs in a transaction; a crash of the machine may undo it, at the price of a duplicate.
 * - `read`: runs outside of transactions, and sees what is committed only.
 */
export type Phase = "write" | "relay" | "read";

/** An operation by name, as a room of the worker offers it. */
export interface Operation {
  readonly phase: Phase;
  run(args: unknown): Answer;
}

export type Operations = Readonly<Record<string, Operation>>;

/** Types the arguments of an operation where it is defined: both sides are this package's, in one version. */
export function operation<Args>(phase: Phase, run: (args: Args) => Answer): Operation {
  return { phase, run: (args) => run(args as Args) };
}
