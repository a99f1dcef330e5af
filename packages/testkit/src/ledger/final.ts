import type { LedgerWriter } from "./writer.ts";

/** One row of the effect store: `n` effects of an id (rows of the same id are added up). */
export interface EffectRow {
  readonly id: string;
  /** @default 1 */
  readonly n?: number;
  /** Number of the commit that wrote the first: rises with the store's commits. */
  readonly commit: number;
  /** Hash of the body as the handler saw it, in the notation of `invoke`'s `h`. */
  readonly bodyHash?: string | null;
}

/** What an outbox or a queue still holds; `n: 0` says that it was looked at and is empty. */
export interface Remaining {
  readonly where: "outbox" | "queue";
  readonly name: string;
  readonly n: number;
  readonly ids?: readonly string[];
}

type Rows<T> = Iterable<T> | AsyncIterable<T>;

/** The state after heal and the bound: read from the effect store, the dead letters and the broker, never from a log. */
export interface FinalState {
  readonly effects: Rows<EffectRow>;
  /** Ids of the dead letters. */
  readonly deadLetters: Rows<string>;
  readonly remaining: Rows<Remaining>;
}

/** Writes the final state into the run's folder, so that the folder can be judged again without the stores. */
export async function writeFinal(writer: LedgerWriter, final: FinalState): Promise<void> {
  let [effects, dlq, queues, outboxes] = [0, 0, 0, 0];
  for await (const { id, n = 1, commit, bodyHash: h } of final.effects) {
    writer.write({ op: "final-effect", id, n, commit, ...(h == null ? {} : { h }) });
    effects += 1;
  }
  for await (const id of final.deadLetters) {
    writer.write({ op: "final-dlq", id });
    dlq += 1;
  }
  for await (const { where, name, n, ids } of final.remaining) {
    writer.write({
      op: where === "queue" ? "final-queue" : "final-outbox",
      name,
      n,
      ...(ids === undefined ? {} : { ids }),
    });
    if (where === "queue") queues += 1;
    else outboxes += 1;
  }
  writer.write({ op: "final", effects, dlq, queues, outboxes });
}
