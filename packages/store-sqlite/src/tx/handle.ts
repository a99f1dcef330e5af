import { TallyError } from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import type { PutArgs } from "../worker/protocol.ts";

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
    return this.#ask("turn.sql", { turn: this.#turn, how: "all", text: sql, params });
  }

  get(sql: string, params: SqliteParams = []): Promise<SqliteRow | undefined> {
    return this.#ask("turn.sql", { turn: this.#turn, how: "get", text: sql, params });
  }

  run(
    sql: string,
    params: SqliteParams = [],
  ): Promise<{ readonly changes: number | bigint; readonly lastInsertRowid: number | bigint }> {
    return this.#ask("turn.sql", { turn: this.#turn, how: "run", text: sql, params });
  }

  /** For `publish(…, { tx })`, by way of core. */
  put(pack: PutArgs): Promise<Uint8Array> {
    return this.#ask("turn.put", { turn: this.#turn, pack });
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

  #ask<T>(op: string, args: unknown): Promise<T> {
    if (this.#over) return Promise.reject(new TallyError("store", "this transaction is over"));
    if (this.#outstanding++ === 0) this.#flights++;
    return new Promise((resolve, reject) => {
      this.#client.post(op, args, (value, error) => {
        this.#outstanding--;
        this.#idleSince = this.#client.host.clock.now();
        if (error === null) resolve(value as T);
        else reject(error);
      });
    });
  }
}
