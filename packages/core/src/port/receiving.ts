import type { TallyError } from "../error.ts";
import type { Incoming } from "../message.ts";
import type { TopicPlan } from "./topic-plan.ts";

/** What a session for receiving is opened for. */
export interface Subscription {
  readonly topic: TopicPlan;
  readonly group: string;
  /** At most so many deliveries without a settlement (Kafka: plus one fetch). */
  readonly credit: number;
  /** Name of this consumer among those of its group, for the broker's listings. */
  readonly consumer: string;
}

/** A message as the broker handed it out once. */
export interface Delivery {
  /** The adapter's handle: delivery tag, offset, receipt handle. */
  readonly token: unknown;
  /** Channel, partition, queue: the scope of a merged ack. */
  readonly lane: number;
  /** The session or assignment that delivered it; a settlement from an earlier epoch is a no-op. */
  readonly epoch: number;
  /** Where the message lies, stable over redeliveries (Kafka: `topic/partition/offset`); null where the broker has no such place. */
  readonly place: string | null;
  /** Deliveries so far, this one included, as counted by the broker; null where it does not count. */
  readonly count: number | null;
  readonly message: Incoming;
}

/** Dead letters, delayed and parked copies are core's own publishes, followed by `ack`. */
export type Settlement =
  | { readonly kind: "ack"; readonly delivery: Delivery }
  | { readonly kind: "release"; readonly delivery: Delivery; readonly afterMs: number };

/** A session for receiving; `dispose` flushes settlements, then leaves, and what is unsettled comes again elsewhere. */
export interface Receiver extends AsyncDisposable {
  /**
   * Never throws. Acks may be merged, but only over a fully settled prefix of their lane: one that
   * named a later delivery would cover those that are still in their handlers.
   */
  settle(batch: readonly Settlement[]): void;
  /** False: the delivery's lease is gone, a second delivery is under way. */
  extend(delivery: Delivery, ms: number): Promise<boolean>;
  /** No more deliveries of this lane until resumed; those out stay valid. */
  pause(lane: number): void;
  resume(lane: number): void;
  /** No more deliveries at all; settling goes on. Resolves when the last delivery is in. */
  stop(): Promise<void>;
}

/** Synchronous, in the order of the wire. */
export interface ReceiverEvents {
  deliver(batch: readonly Delivery[]): void;
  /** Awaited only by drivers that can. */
  revoking(epoch: number, lanes: readonly number[]): Promise<void>;
  /** From here a settlement of that epoch and lane is a no-op. */
  revoked(epoch: number, lanes: readonly number[]): void;
  /** The settlement did not take: these will come again. */
  unsettled(batch: readonly Delivery[], error: TallyError): void;
  /** Messages of a lane are gone from the broker, never delivered. */
  gap(lane: number, from: string, to: string): void;
  /** The session is over, whoever ended it except `dispose` (connection, cancelled consumer, deleted queue). Once. */
  lost(error: TallyError): void;
  /** Something that a person should know and no delivery says. */
  surfaced(what: string): void;
}
