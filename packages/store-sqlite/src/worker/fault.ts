import type { ErrorCode } from "@tallymq/core/spi";
import type { SqliteError } from "./protocol.ts";

/** An error on its way to the main thread, where it becomes a TallyError: errors lose their class when they are posted. */
export class Fault extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  /** What was asked for may have been done all the same. */
  readonly mayArrive: boolean;

  constructor(
    code: ErrorCode,
    message: string,
    given: { readonly retryable?: boolean; readonly mayArrive?: boolean; readonly cause?: unknown } = {},
  ) {
    super(message, given.cause === undefined ? undefined : { cause: given.cause });
    this.code = code;
    this.retryable = given.retryable ?? false;
    this.mayArrive = given.mayArrive ?? false;
  }
}

/** Result codes of SQLite, without their extensions. */
export const SQLITE = {
  error: 1,
  busy: 5,
  locked: 6,
  readonly: 8,
  ioerr: 10,
  corrupt: 11,
  full: 13,
  cantopen: 14,
  constraint: 19,
  notadb: 26,
} as const;

/** The primary result code of an error that node:sqlite threw; 0 for any other. */
export function sqliteCode(error: unknown): number {
  const code = typeof error === "object" && error !== null ? (error as { errcode?: unknown }).errcode : undefined;
  return typeof code === "number" ? code & 0xff : 0;
}

/**
 * Whatever was thrown while a store was worked on. Statements and values are not in SQLite's own messages.
 * @param committing A commit threw it. Where the disk failed, its pages may be in the log all the same, whole: whoever opens the file
 * after a crash finds them committed.
 */
export function asFault(error: unknown, path: string, committing = false): Fault {
  if (error instanceof Fault) return error;
  switch (sqliteCode(error)) {
    case SQLITE.busy:
    case SQLITE.locked:
      return new Fault("store", `${path} is locked by another process for too long`, { retryable: true, cause: error });
    case SQLITE.full:
      return new Fault("store", `the disk under ${path} is full`, { retryable: true, cause: error });
    case SQLITE.ioerr:
    case SQLITE.cantopen:
    case SQLITE.readonly:
      return new Fault("store", `${path} cannot be read or written: ${messageOf(error)}`, {
        retryable: true,
        mayArrive: committing,
        cause: error,
      });
    case SQLITE.corrupt:
    case SQLITE.notadb:
      return new Fault("store", `${path} is damaged: ${messageOf(error)}`, { cause: error });
    default:
      return new Fault("store", `${path}: ${messageOf(error)}`, { cause: error });
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function sqliteErrorOf(cause: unknown): SqliteError | null {
  const { errcode, errstr } = (typeof cause === "object" && cause !== null ? cause : {}) as {
    errcode?: unknown;
    errstr?: unknown;
  };
  return typeof errcode === "number" ? { message: messageOf(cause), errcode, errstr: String(errstr) } : null;
}
