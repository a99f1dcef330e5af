// What the two threads say to each other. Each message to the worker is the list of one tick's requests; each message back is the
// list of what one commit (or one look) answered.

import type { ErrorCode } from "@tallymq/core/spi";

export interface Request {
  readonly n: number;
  readonly op: string;
  /** As the operation says. */
  readonly args: unknown;
}

export type Reply =
  | { readonly n: number; readonly value: unknown }
  | { readonly n: number; readonly error: Failure }
  | { readonly surfaced: string };

export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
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
  readonly used: number;
  readonly rows: number;
  readonly wall: number;
}

export interface PutAnswer {
  /** One of {@link PUT} a row. */
  readonly codes: Uint8Array;
  readonly pack: ArrayBuffer;
}

/** Records on their way back: one behind the other in `bytes`, `ends[i]` is where the i-th ends. */
export interface Records {
  readonly places: readonly number[];
  readonly at: readonly number[];
  readonly ends: readonly number[];
  readonly bytes: ArrayBuffer;
}

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
