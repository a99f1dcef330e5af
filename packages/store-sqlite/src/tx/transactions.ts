import {
  type FreshClaim,
  type InboxTransactions,
  type NewRow,
  type OutboxStore,
  type PutResult,
  TallyError,
} from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import { batchesOf, resultsOf } from "../outbox/puts.ts";
import { SqliteOutbox } from "../outbox/store.ts";
import { Heads } from "../record/heads.ts";
import { AGAIN, type EnterArgs, type LeaveArgs, TURN } from "../worker/protocol.ts";
import { type SqliteTx, TxHandle } from "./handle.ts";
import { TurnWatch } from "./watch.ts";

/** A transaction is committed after so many handlers, */
const GROUP_TURNS = 100;
/** or so many milliseconds, or when nobody waits. */
const GROUP_MS = 5;
/** After so many handlers of a topic that asked once and succeeded, the next ones go in waves. */
const SIMPLE_AFTER = 16;

interface Waiting {
  readonly claim: FreshClaim;
  /** It was begun before, and told what is not so any more. */
  readonly alone: boolean;
  readonly effect: (tx: SqliteTx) => Promise<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

type Outcome = { readonly is: "value"; readonly value: unknown } | { readonly is: "thrown"; readonly error: unknown };

/**
 * Handlers of one store take turns, in a transaction that up to 100 share. The end of one turn and the beginning of the next
 * travel as one message, so that a turn costs one round trip for each time its handler waits.
 *
 * Most handlers ask once, write, and are done. Those of a topic that has been so for a while take their turns in waves: all
 * are begun, what they ask travels together, and a wave costs one round trip. The worker holds them to the order of their
 * turns; in the rare case that one of them turns out otherwise, others may have to be begun anew.
 */
export class SqliteTransactions implements InboxTransactions<SqliteTx> {
  readonly outbox: OutboxStore;
  readonly #client: Client;
  readonly #watch: TurnWatch;
  readonly #heads: Heads = new Heads();
  readonly #queue: Waiting[] = [];
  /** By group and topic, how many handlers in a row asked once and succeeded. */
  readonly #simple: Map<string, number> = new Map();
  #running = false;
  #turns = 0;

  constructor(client: Client, timeoutMs: number) {
    this.#client = client;
    this.#watch = new TurnWatch(client.host, timeoutMs);
    this.outbox = new SqliteOutbox(client, false);
  }

  run<T>(claim: FreshClaim, effect: (tx: SqliteTx) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ claim, effect, alone: false, resolve: resolve as (value: unknown) => void, reject });
      this.#start();
    });
  }

  async put(tx: SqliteTx, rows: readonly NewRow[]): Promise<readonly PutResult[]> {
    if (!(tx instanceof TxHandle)) throw new TallyError("bad-config", "this tx is not one of the inbox's");
    const wall = this.#client.host.clock.wall();
    const codes = batchesOf(rows, this.#heads).map((batch) =>
      // A handler puts a row or two: what is not used of the batch does not travel.
      tx.put({
        bytes: batch.bytes.buffer.slice(0, batch.used),
        used: batch.used,
        common: 0,
        rows: batch.rows,
        wall,
        waiting: 0,
      }),
    );
    return (await Promise.all(codes)).flatMap(resultsOf);
  }

  /** Handlers that are still at it are not waited for: their turns end here, undone, and those who wait for theirs get none. */
  close(): void {
    const error = new TallyError("closed", `${this.#client.path} is closed`);
    for (const { reject } of this.#queue.splice(0)) reject(error);
    this.#watch.close(error);
  }

  async #work(): Promise<void> {
    const { clock } = this.#client.host;
    let [turns, began] = [0, 0];
    for (let wave = this.#wave(GROUP_TURNS); wave.length > 0; wave = this.#wave(GROUP_TURNS - turns)) {
      if (turns === 0) began = clock.now();
      await Promise.all(wave.map((next, at) => this.#turn(next, at === 0)));
      turns += wave.length;
      if (this.#queue.length > 0 && turns < GROUP_TURNS && clock.now() - began < GROUP_MS) continue;
      this.#client.post(TURN.commit, null, null);
      turns = 0;
    }
    this.#running = false;
  }

  /** Those who may go at once: whoever may ask again, or fail, is the last of them, since nobody behind it is in its way then. */
  #wave(most: number): readonly Waiting[] {
    const wave: Waiting[] = [];
    for (let next = this.#queue[0]; next !== undefined && wave.length < most; next = this.#queue[0]) {
      if (next.alone && wave.length > 0) break;
      this.#queue.shift();
      wave.push(next);
      if (next.alone || (this.#simple.get(kindOf(next)) ?? 0) < SIMPLE_AFTER) break;
    }
    return wave;
  }

  async #turn(waiting: Waiting, first: boolean): Promise<void> {
    const { claim, effect, resolve, reject } = waiting;
    const turn = ++this.#turns;
    const { group, topic, producer, id, bodyHash } = claim.key;
    const enter: EnterArgs = [turn, claim.fence, first, group, topic, producer, id, bodyHash];
    this.#client.post(TURN.enter, enter, null);
    const tx = new TxHandle(this.#client, turn);
    const outcome = await this.#bounded(tx, effect, claim);
    tx.end();
    // Who throws before it has asked anything is in nobody's way either.
    const simple = tx.flights === 0 || (tx.flights === 1 && outcome.is === "value");
    this.#simple.set(kindOf(waiting), simple ? (this.#simple.get(kindOf(waiting)) ?? 0) + 1 : 0);
    // Not awaited: the next turn begins behind this message, and its answer comes after the commit.
    this.#client.post(TURN.leave, [turn, outcome.is === "value"] satisfies LeaveArgs, (answer, error) => {
      if (error !== null) reject(error);
      else if (answer === AGAIN) this.#again(waiting);
      else if (outcome.is === "value") resolve(outcome.value);
      else reject(outcome.error);
    });
  }

  #again(waiting: Waiting): void {
    this.#queue.unshift({ ...waiting, alone: true });
    this.#start();
  }

  /** After all that begin in this tick: they go together. */
  #start(): void {
    if (this.#running) return;
    this.#running = true;
    process.nextTick(() => void this.#work());
  }

  /** The effect's outcome, or `handler-deadline` when it has done nothing with `tx` for too long. */
  #bounded(tx: TxHandle, effect: (tx: SqliteTx) => Promise<unknown>, claim: FreshClaim): Promise<Outcome> {
    return new Promise((settle) => {
      const leave = this.#watch.enter(tx, claim.key, (error) => settle({ is: "thrown", error }));
      const end = (outcome: Outcome): void => {
        leave();
        settle(outcome);
      };
      // A handler that throws before its first await is one that rejects.
      new Promise<unknown>((resolve) => resolve(effect(tx))).then(
        (value) => end({ is: "value", value }),
        (error: unknown) => end({ is: "thrown", error }),
      );
    });
  }
}

/** Handlers of one group and topic are the same code. */
function kindOf({ claim: { key } }: Waiting): string {
  return `${key.group}\0${key.topic}`;
}
