import type { NewRow, PutResult, TallyError } from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import { Heads } from "../record/heads.ts";
import { checkRow, type Batch, batchAlone, batchFor, FreeBuffers } from "../record/batch.ts";
import type { PutAnswer, PutArgs } from "../worker/protocol.ts";

const RESULTS: readonly PutResult[] = ["stored", "same", "conflict", "full"];
/** What nearly every call is answered. */
const STORED: readonly PutResult[] = Object.freeze(["stored"]);

/** Rows of a batch: who puts a thousand at once has two on their way, and the worker stores one while this thread fills the other. */
const MOST_ROWS = 512;
/** So much is left of what waited at most with each batch that follows, so that it comes down again. */
const FADE = 0.94;

interface Caller {
  /** Null: none yet. Not made for a call of one row that is stored. */
  results: PutResult[] | null;
  /** Rows that are not answered yet. */
  left: number;
  readonly resolve: (results: readonly PutResult[]) => void;
  readonly reject: (error: TallyError) => void;
}

/** Collects the puts of one tick into batches. */
export class Puts {
  readonly #client: Client;
  readonly #heads: Heads = new Heads();
  readonly #buffers: FreeBuffers = new FreeBuffers();
  #batch: Batch | null = null;
  /** Of each row in the batch, whose it is. */
  #callers: Caller[] = [];
  /** Bytes that the worker has and has not answered. */
  #waiting = 0;
  /** How many these were lately, at most. */
  #most = 0;

  constructor(client: Client) {
    this.#client = client;
    client.beforeFlush = () => this.#hand();
  }

  put(rows: readonly NewRow[]): Promise<readonly PutResult[]> {
    return new Promise((resolve, reject) => {
      if (rows.length === 0) return resolve([]);
      const caller: Caller = { results: null, left: rows.length, resolve, reject };
      // All are looked at before one is added: a call that rejects has stored nothing.
      for (const row of rows) checkRow(row);
      for (const row of rows) this.#add(row, caller);
      this.#client.schedule();
    });
  }

  #add(row: NewRow, caller: Caller): void {
    if (this.#callers.length === MOST_ROWS || this.#batch?.add(row, this.#heads) !== true) {
      const full = this.#batch !== null;
      this.#hand();
      // A full batch leaves at once: the worker stores it while this thread fills the next.
      if (full) this.#client.flush();
      this.#batch = batchFor(row, this.#heads, this.#buffers);
    }
    this.#callers.push(caller);
  }

  #hand(): void {
    const [batch, callers] = [this.#batch, this.#callers];
    if (batch === null) return;
    [this.#batch, this.#callers] = [null, []];
    const { used, rows } = batch;
    const common = batch.finish();
    const bytes = batch.bytes.buffer;
    this.#waiting += used;
    this.#most = Math.max(this.#waiting, this.#most * FADE);
    const args: PutArgs = { bytes, used, common, rows, wall: this.#client.host.clock.wall(), waiting: this.#most };
    this.#client.post("put", args, (value, error) => this.#answered(used, callers, value as PutAnswer, error), bytes);
  }

  #answered(used: number, callers: Caller[], answer: PutAnswer, error: TallyError | null): void {
    this.#waiting -= used;
    if (error !== null) for (const caller of callers) caller.reject(error);
    else {
      this.#buffers.back(answer.buffer);
      settle(callers, answer.codes);
    }
    // What has been answered must not be held. Something that V8 has promoted (what the map of open requests has outgrown, it seems)
    // held the callers of every commit until the whole heap was collected: three quarters of what each small collection moved.
    callers.length = 0;
  }
}

function settle(callers: readonly Caller[], codes: Uint8Array): void {
  for (let i = 0; i < callers.length; i++) {
    const caller = callers[i] as Caller;
    const code = codes[i] ?? 0;
    caller.left--;
    if (code === 0 && caller.left === 0 && caller.results === null) caller.resolve(STORED);
    else {
      (caller.results ??= []).push(RESULTS[code] as PutResult);
      if (caller.left === 0) caller.resolve(caller.results);
    }
  }
}

export function resultsOf(codes: Uint8Array): readonly PutResult[] {
  return Array.from(codes, (code) => RESULTS[code] as PutResult);
}

/** Rows in batches of their own, for a transaction that puts them itself. */
export function batchesOf(rows: readonly NewRow[], heads: Heads): readonly Batch[] {
  const batches: Batch[] = [];
  for (const row of rows) if (batches.at(-1)?.add(row, heads) !== true) batches.push(batchAlone(row, heads));
  return batches;
}
