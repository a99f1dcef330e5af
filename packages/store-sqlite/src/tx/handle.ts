import { TallyError } from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import { type PutArgs, type Ran, type SqlArgs, TURN, type TurnPutArgs } from "../worker/protocol.ts";

/** What SQLite stores. */
export type SqliteValue = null | number | bigint | string | Uint8Array;
/** By position, or by name without its prefix. */
export type SqliteParams = readonly SqliteValue[] | Readonly<Record<string, SqliteValue>>;
/** A row, by the names of its columns. */
export type SqliteRow = Readonly<Record<string, SqliteValue>>;

/**
 * The transaction of a handler with `effect: "tx"`: its statements and the mark commit together, or neither. One statement
 * a call; a failed one rejects, is undone by itself, and may be caught. Whole numbers beyond 2^53 are read as an error: read
 * them as text.
 */
export interface SqliteTx {
  /** All rows of a statement. */
  query(sql: string, params?: SqliteParams): Promise<readonly SqliteRow[]>;
  /** The first row, or undefined. */
  get(sql: string, params?: SqliteParams): Promise<SqliteRow | undefined>;
  /** What it changed: for statements without rows. */
  run(
    sql: string,
    params?: SqliteParams,
  ): Promise<{ readonly changes: number | bigint; readonly lastInsertRowid: number | bigint }>;
}

export class TxHandle implements SqliteTx {
  readonly #client: Client;
  readonly #turn: number;
  #outstanding = 0;
  #over = false;
  #flights = 0;
  /** Since when nothing was asked of the store; monotonic milliseconds. */
  #idleSince: number;

  constructor(client: Client, turn: number) {
    this.#client = client;
    this.#turn = turn;
    this.#idleSince = client.host.clock.now();
  }

  query(sql: string, params: SqliteParams = []): Promise<readonly SqliteRow[]> {
    return this.#sql("all", sql, params);
  }

  get(sql: string, params: SqliteParams = []): Promise<SqliteRow | undefined> {
    return this.#sql("get", sql, params);
  }

  run(
    sql: string,
    params: SqliteParams = [],
  ): Promise<{ readonly changes: number | bigint; readonly lastInsertRowid: number | bigint }> {
    return this.#sql("run", sql, params, whatRan);
  }

  /** For `publish(…, { tx })`, by way of core. */
  put(batch: PutArgs): Promise<Uint8Array> {
    return this.#ask(TURN.put, [this.#turn, batch] satisfies TurnPutArgs);
  }

  /** How long the handler has been at something else, in ms. */
  idleMs(): number {
    return this.#outstanding > 0 ? 0 : this.#client.host.clock.now() - this.#idleSince;
  }

  /** How often it asked again after it had been answered. */
  get flights(): number {
    return this.#flights;
  }

  end(): void {
    this.#over = true;
  }

  #sql<T>(how: SqlArgs[1], sql: string, params: SqliteParams, read?: (value: unknown) => unknown): Promise<T> {
    const wrong = whatIsWrong(sql, params);
    if (wrong !== null) return Promise.reject(new TallyError("handler", wrong));
    return this.#ask(TURN.sql, [this.#turn, how, sql, params] satisfies SqlArgs, read);
  }

  #ask<T>(op: number, args: unknown, read: (value: unknown) => unknown = asIs): Promise<T> {
    if (this.#over) return Promise.reject(new TallyError("store", "this transaction is over"));
    if (this.#outstanding++ === 0) this.#flights++;
    return new Promise((resolve, reject) => {
      this.#client.post(op, args, (value, error) => {
        if (--this.#outstanding === 0) this.#idleSince = this.#client.host.clock.now();
        if (error === null) resolve(read(value) as T);
        else reject(error);
      });
    });
  }
}

/**
 * Of what SQLite would refuse, or could not even be sent to its thread: then the message that a function is in would fail, and
 * with it all that other handlers asked in the same tick. Shows no value.
 */
function whatIsWrong(sql: unknown, params: unknown): string | null {
  if (typeof sql !== "string") return `a statement must be a text; got ${kindOf(sql)}`;
  if (Array.isArray(params)) {
    // Each statement of each handler comes by here: no list of its own for that.
    for (let at = 0; at < params.length; at++) if (!isValue(params[at])) return wrongValue(String(at + 1), params[at]);
    return null;
  }
  const prototype: unknown = isObject(params) ? Object.getPrototypeOf(params) : undefined;
  if (prototype !== Object.prototype && prototype !== null)
    return `parameters must be a list or an object by name; got ${kindOf(params)}`;
  const wrong = Object.entries(params as object).find(([, value]) => !isValue(value));
  return wrong === undefined ? null : wrongValue(JSON.stringify(wrong[0]), wrong[1]);
}

function wrongValue(which: string, value: unknown): string {
  return `parameter ${which} must be null, a number, a bigint, a string or a Uint8Array; got ${kindOf(value)}`;
}

function isValue(v: unknown): v is SqliteValue {
  const kind = typeof v;
  return kind === "number" || kind === "string" || kind === "bigint" || v === null || ArrayBuffer.isView(v);
}

function isObject(v: unknown): v is object {
  return typeof v === "object" && v !== null;
}

function kindOf(v: unknown): string {
  return v === null ? "null" : typeof v;
}

const asIs = (value: unknown): unknown => value;

function whatRan(value: unknown): Awaited<ReturnType<SqliteTx["run"]>> {
  const [changes, lastInsertRowid] = value as Ran;
  return { changes, lastInsertRowid };
}
