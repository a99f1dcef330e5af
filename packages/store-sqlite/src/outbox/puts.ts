import type { NewRow, PutResult, TallyError } from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import { Heads } from "../record/heads.ts";
import { checkRow, type Pack, packAlone, packFor, Packs } from "../record/pack.ts";
import type { PutAnswer, PutArgs } from "../worker/protocol.ts";

const RESULTS: readonly PutResult[] = ["stored", "same", "conflict", "full"];
/** What nearly every call is answered. */
const STORED: readonly PutResult[] = Object.freeze(["stored"]);

/** Rows of a pack: who puts a thousand at once has two on their way, and the worker stores one while this thread fills the other. */
const MOST_ROWS = 512;
/** So much is left of what waited at most with each pack that follows, so that it comes down again. */
const FADE = 0.94;

interface Caller {
  /** Null: none yet. Not made for a call of one row that is stored. */
  results: PutResult[] | null;
  /** Rows that are not answered yet. */
  left: number;
  readonly resolve: (results: readonly PutResult[]) => void;
  readonly reject: (error: TallyError) => void;
}

/** Collects the puts of one tick into packs. */
export class Puts {
  readonly #client: Client;
  readonly #heads: Heads = new Heads();
  readonly #packs: Packs = new Packs();
  #pack: Pack | null = null;
  /** Of each row in the pack, whose it is. */
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
    if (this.#callers.length === MOST_ROWS || this.#pack?.add(row, this.#heads) !== true) {
      const full = this.#pack !== null;
      this.#hand();
      // A full pack leaves at once: the worker stores it while this thread fills the next.
      if (full) this.#client.flush();
      this.#pack = packFor(row, this.#heads, this.#packs);
    }
    this.#callers.push(caller);
  }

  #hand(): void {
    const [pack, callers] = [this.#pack, this.#callers];
    if (pack === null) return;
    [this.#pack, this.#callers] = [null, []];
    const { used, rows } = pack;
    const common = pack.finish();
    const bytes = pack.bytes.buffer;
    this.#waiting += used;
    this.#most = Math.max(this.#waiting, this.#most * FADE);
    const args: PutArgs = { bytes, used, common, rows, wall: this.#client.host.clock.wall(), waiting: this.#most };
    this.#client.post("put", args, (value, error) => this.#answered(used, callers, value as PutAnswer, error), bytes);
  }

  #answered(used: number, callers: Caller[], answer: PutAnswer, error: TallyError | null): void {
    this.#waiting -= used;
    if (error !== null) for (const caller of callers) caller.reject(error);
    else {
      this.#packs.back(answer.pack);
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

/** Rows in packs of their own, for a transaction that puts them itself. */
export function packAll(rows: readonly NewRow[], heads: Heads): readonly Pack[] {
  const packs: Pack[] = [];
  for (const row of rows) if (packs.at(-1)?.add(row, heads) !== true) packs.push(packAlone(row, heads));
  return packs;
}
