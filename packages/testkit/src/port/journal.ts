import type { Outgoing, SenderEvents, TallyError, Verdict } from "@tallymq/core/spi";

/** Who sends, and writes down what comes of it. */
export class SenderJournal {
  /** In the order of their coming: `"m1 accepted"` for each verdict, `"retired"` and `"lost"` for the session. */
  readonly lines: string[] = [];
  /** By id, the last one. */
  readonly verdicts: Map<string, Verdict> = new Map();
  /** Of `retired` and `lost`. */
  readonly errors: TallyError[] = [];
  readonly events: SenderEvents = {
    blocked: () => {},
    unblocked: () => {},
    retired: (error) => this.#said("retired", error),
    lost: (error) => this.#said("lost", error),
    surfaced: () => {},
  };

  /** To be given to `send` with the same batch. */
  of(batch: readonly Outgoing[]): (index: number, verdict: Verdict) => void {
    return (index, verdict) => {
      const { id } = batch[index]!;
      this.lines.push(`${id} ${verdict.kind}`);
      this.verdicts.set(id, verdict);
    };
  }

  #said(what: string, error: TallyError): void {
    this.lines.push(what);
    this.errors.push(error);
  }
}
