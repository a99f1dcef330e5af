import { TallyError } from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import { type PutArgs, type Ran, type SqlArgs, TURN, type TurnPutArgs } from "../worker/protocol.ts";

export type SqliteValue = null | number | bigint | string | Uint8Array;
/** By position, or by name without its prefix. */
export type SqliteParams = readonly SqliteValue[] | Readonly<Record<string, SqliteValue>>;
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
    return this.#ask(TURN.sql, [this.#turn, "all", sql, params] satisfies SqlArgs);
  }

  get(sql: string, params: SqliteParams = []): Promise<SqliteRow | undefined> {
    return this.#ask(TURN.sql, [this.#turn, "get", sql, params] satisfies SqlArgs);
  }

  run(
    sql: string,
    params: SqliteParams = [],
  ): Promise<{ readonly changes: number | bigint; readonly lastInsertRowid: number | bigint }> {
    return this.#ask(TURN.sql, [this.#turn, "run", sql, params] satisfies SqlArgs, whatRan);
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

const asIs = (value: unknown): unknown => value;

function whatRan(value: unknown): Awaited<ReturnType<SqliteTx["run"]>> {
  const [changes, lastInsertRowid] = value as Ran;
  return { changes, lastInsertRowid };
}
