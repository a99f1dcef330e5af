import type { Incarnation } from "./lines.ts";

/** An id whose first effect came before that of one which its process had published earlier under the same key. */
export interface Overtaken {
  readonly row: number;
  /** The one published before it, with an effect behind it. */
  readonly before: number;
  readonly key: string;
}

interface Call {
  readonly row: number;
  readonly epoch: number;
  readonly seq: number;
}

/**
 * The order of ordered keys: for each process and key, in the order of (epoch, seq), the commits of first effects rise.
 *
 * Only calls whose `invoke` has a key and a seq are held to it. An id that was invoked twice is left out: it has two places
 * in the order, and which of its copies took effect first nobody wrote down.
 */
export class KeyOrder {
  /** By process, then by key: most lines have the same process as the one before. */
  readonly #calls: Map<string, Map<string, Call[]>> = new Map();
  /** The first effect's commit, by row. */
  readonly #commits: Map<number, number> = new Map();

  call(row: number, { proc, epoch }: Incarnation, key: string, seq: number): void {
    let keys = this.#calls.get(proc);
    if (keys === undefined) this.#calls.set(proc, (keys = new Map()));
    const calls = keys.get(key);
    if (calls === undefined) keys.set(key, [{ row, epoch, seq }]);
    else calls.push({ row, epoch, seq });
  }

  effect(row: number, commit: number): void {
    const first = this.#commits.get(row);
    if (first === undefined || commit < first) this.#commits.set(row, commit);
  }

  /** @param judged whether an id counts: one call, and no dead letter */
  *overtaken(judged: (row: number) => boolean): Generator<Overtaken> {
    for (const keys of this.#calls.values()) {
      for (const [key, calls] of keys) {
        calls.sort((a, b) => a.epoch - b.epoch || a.seq - b.seq);
        let latest: { readonly row: number; readonly commit: number } | null = null;
        for (const { row } of calls) {
          const commit = this.#commits.get(row);
          if (commit === undefined || !judged(row)) continue;
          if (latest !== null && commit < latest.commit) yield { row, before: latest.row, key };
          else latest = { row, commit };
        }
      }
    }
  }
}
