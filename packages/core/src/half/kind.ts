import type { Outgoing } from "../message.ts";
import type { Runtime } from "../runtime.ts";
import type { Decision } from "../port/half.ts";
import type { PutResult } from "../stores.ts";
import type { Topic } from "../topic.ts";
import type { BrokerHalves } from "./broker.ts";
import type { HalfMessage } from "./message.ts";
import type { HalfContext, HalfOptions, HalfPolicy, HalfReceipt } from "./options.ts";
import type { HalfStore } from "./store.ts";

/** What the half messages of one declaration share. */
export interface HalfKind {
  readonly name: string;
  readonly topic: Topic<never, never>;
  readonly check: HalfOptions<never, never>["check"];
  readonly policy: HalfPolicy;
  readonly runtime: Runtime;
  readonly store: HalfStore;
  /** Null: they wait in the store alone. */
  readonly broker: BrokerHalves | null;
  /** Fires when the tally closes: nothing is tried again. */
  readonly closing: AbortSignal;
  /** `put` is to be called when the turn of this message among those of its key has come. */
  inTurn(message: Outgoing, put: () => Promise<PutResult>): void;
  /** There may be a new row in the outbox. */
  stored(): void;
  ended(message: HalfMessage): void;
  /** As many are in memory here as may be without a caller who waits. */
  crowded(): boolean;
}

/** Who waits for a `run()`. */
export interface HalfCaller {
  readonly work: (context: HalfContext) => Decision | Promise<Decision>;
  readonly signal: AbortSignal | null;
  resolve(receipt: HalfReceipt): void;
  reject(error: unknown): void;
}
