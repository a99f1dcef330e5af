import {
  type FreshClaim,
  type InboxTransactions,
  type NewRow,
  type OutboxStore,
  type PutResult,
  TallyError,
  type Timer,
} from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import { packAll, resultsOf } from "../outbox/puts.ts";
import { SqliteOutbox } from "../outbox/store.ts";
import { Heads } from "../record/pack.ts";
import { type SqliteTx, TxHandle } from "./handle.ts";

/** A transaction is committed after so many handlers, */
const GROUP_TURNS = 100;
/** or so many milliseconds, or when nobody waits. */
const GROUP_MS = 5;
/** A handler that keeps the others waiting for so long with anything but its `tx` is surfaced. */
const SLOW_MS = 50;

interface Waiting {
  readonly claim: FreshClaim;
  readonly effect: (tx: SqliteTx) => Promise<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

type Outcome = { readonly is: "value"; readonly value: unknown } | { readonly is: "thrown"; readonly error: unknown };

/**
 * Handlers of one store take turns, each in a savepoint of a transaction that up to 100 share. The end of one turn and the
 * beginning of the next travel as one message, so that a turn costs one round trip for each time its handler waits.
 */
export class SqliteTransactions implements InboxTransactions<SqliteTx> {
  readonly outbox: OutboxStore;
  readonly #client: Client;
  readonly #timeoutMs: number;
  readonly #heads: Heads = new Heads();
  readonly #queue: Waiting[] = [];
  #running = false;
  #turns = 0;

  constructor(client: Client, timeoutMs: number) {
    this.#client = client;
    this.#timeoutMs = timeoutMs;
    this.outbox = new SqliteOutbox(client, false);
  }

  run<T>(claim: FreshClaim, effect: (tx: SqliteTx) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ claim, effect, resolve: resolve as (value: unknown) => void, reject });
      if (!this.#running) void this.#work();
    });
  }

  async put(tx: SqliteTx, rows: readonly NewRow[]): Promise<readonly PutResult[]> {
    if (!(tx instanceof TxHandle)) throw new TallyError("bad-config", "this tx is not one of the inbox's");
    const wall = this.#client.host.clock.wall();
    const codes = packAll(rows, this.#heads).map((pack) =>
      // A handler puts a row or two: what is not used of the pack does not travel.
      tx.put({ bytes: pack.bytes.buffer.slice(0, pack.used), used: pack.used, rows: pack.rows, wall }),
    );
    return (await Promise.all(codes)).flatMap(resultsOf);
  }

  async #work(): Promise<void> {
    this.#running = true;
    const { clock } = this.#client.host;
    let [turns, began] = [0, 0];
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if (turns === 0) began = clock.now();
      await this.#turn(next);
      turns++;
      if (this.#queue.length > 0 && turns < GROUP_TURNS && clock.now() - began < GROUP_MS) continue;
      this.#client.post("turn.commit", null, null);
      turns = 0;
    }
    this.#running = false;
  }

  async #turn({ claim, effect, resolve, reject }: Waiting): Promise<void> {
    const turn = ++this.#turns;
    const { group, topic, producer, id, bodyHash } = claim.key;
    this.#client.post("turn.enter", { turn, key: { group, topic, producer, id, bodyHash }, fence: claim.fence }, null);
    const tx = new TxHandle(this.#client, turn);
    const outcome = await this.#bounded(tx, effect, claim);
    tx.end();
    // Not awaited: the next turn begins behind this message, and its answer comes after the commit.
    this.#client.post("turn.leave", { turn, done: outcome.is === "value" }, (_, error) => {
      if (error !== null) reject(error);
      else if (outcome.is === "value") resolve(outcome.value);
      else reject(outcome.error);
    });
  }

  /** The effect's outcome, or `handler-deadline` when it has done nothing with `tx` for too long. */
  #bounded(tx: TxHandle, effect: (tx: SqliteTx) => Promise<unknown>, claim: FreshClaim): Promise<Outcome> {
    const { clock, surfaced } = this.#client.host;
    return new Promise((settle) => {
      let [limit, said] = [SLOW_MS, false];
      let timer: Timer | null = null;
      const end = (outcome: Outcome): void => {
        timer?.cancel();
        settle(outcome);
      };
      const look = (): void => {
        const idle = tx.idleMs();
        if (idle >= this.#timeoutMs) {
          const waited = `the handler of ${JSON.stringify(claim.key.topic)} did nothing with its tx for ${this.#timeoutMs} ms and was rolled back: others wait for their turn`;
          return end({
            is: "thrown",
            error: new TallyError("handler-deadline", waited, { id: claim.key.id, retryable: true }),
          });
        }
        if (idle >= SLOW_MS && !said) {
          said = true;
          limit = this.#timeoutMs;
          surfaced(
            `a tx handler of ${JSON.stringify(claim.key.topic)} waited ${SLOW_MS} ms for something other than its tx, while others wait for their turn`,
          );
        }
        timer = clock.after(Math.max(1, limit - tx.idleMs()), look);
      };
      timer = clock.after(SLOW_MS, look);
      // A handler that throws before its first await is one that rejects.
      new Promise<unknown>((resolve) => resolve(effect(tx))).then(
        (value) => end({ is: "value", value }),
        (error: unknown) => end({ is: "thrown", error }),
      );
    });
  }
}
