import type { InboxStore, OutboxStore, StoreHost } from "@tallymq/core/spi";

/** One thing that must hold for every store, as data. `run` resolves when it holds, else rejects with an assertion error. */
export interface StoreCase {
  /** What must hold, in words; unique. */
  readonly name: string;
  /** Without these the case says nothing about a store: it is listed as not applicable, by name. */
  readonly needs: readonly StoreNeed[];
  run(rig: StoreRig): Promise<void>;
}

/**
 * | need | met when |
 * |---|---|
 * | `outbox`, `inbox` | the rig opens them |
 * | `bound` | the rig can open an outbox that is soon full |
 * | `transactions` | the rig can observe effects |
 * | `halves` | its outboxes keep half messages |
 */
export type StoreNeed = "outbox" | "inbox" | "bound" | "transactions" | "halves";

/**
 * A kind of store, as its author supplies it. What it has not is null. Everything opened at one place shares its data, as
 * two processes would; it is disposed of by the case.
 */
export interface StoreRig {
  readonly name: string;
  /** One wait may take so long before its case fails, in milliseconds. */
  readonly limitMs: number;
  /** A place (path, schema) that nobody has used. */
  place(): string;
  readonly outbox: ((place: string, host: StoreHost) => Promise<OutboxStore>) | null;
  /** An outbox that takes between 1 and 20 MiB. */
  readonly bound: ((place: string, host: StoreHost) => Promise<OutboxStore>) | null;
  /** Null: `halves` of its outboxes is null. */
  readonly halves: true | null;
  readonly inbox: ((place: string, host: StoreHost) => Promise<InboxStore<unknown>>) | null;
  readonly transactions: EffectRig<never> | null;
}

/** Effects for an inbox of this rig, in its own words. */
export interface EffectRig<Tx> {
  /** Inserts a line of text, as part of the transaction. */
  write(tx: Tx, line: string): Promise<unknown>;
  /** Lines that are committed, sorted. Called when nothing of the case is under way. */
  lines(place: string): Promise<readonly string[]>;
  /** Before the first effect at a place. */
  prepare(place: string): Promise<void>;
}
