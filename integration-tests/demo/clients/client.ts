import type { LedgerOp } from "@tallymq/testkit/ledger";
import type { BrokerName } from "../arguments.ts";
import type { Order } from "../../workload/order.ts";
import type { Job } from "../workload/job.ts";

/** A way to publish and consume; the workload, the faults and the judge are the same for each. */
export interface Client {
  readonly brokers: readonly BrokerName[];
  /** `publish()` resolves after the broker's answer. Without that no call is ever in flight when a fault hits. */
  readonly awaitsAnswer: boolean;
  /** Says how often it sent a message again. */
  readonly countsResends: boolean;
  publisher(job: Job, notes: Notes): Promise<Publisher>;
  /** Delivers from here on, also before the promise resolves. Disposing lets running handlers finish. */
  consumer(job: Job, handle: Handle, notes: Notes): Promise<AsyncDisposable>;
}

export interface Publisher extends AsyncDisposable {
  /**
   * Resolves when the application may forget the order: `confirmed` if the broker said so, `stored` if the outbox did, null if nobody did.
   * @throws Rejected
   */
  publish(order: Order): Promise<"confirmed" | "stored" | null>;
}

/** Part of the transaction that has the mark, in the database of the effects. */
export type Write = (sql: string, values: readonly (string | number)[]) => Promise<unknown>;

/**
 * Resolves when the delivery may be acked. `deliveries`: as the broker counts them, null where it does not. `write` is null
 * where nothing remembers what was handled: then the handler has a transaction of its own.
 */
export type Handle = (order: Order, deliveries: number | null, write: Write | null) => Promise<void>;

/** What a client tells beside its answers. */
export interface Notes {
  /** For the ledger. */
  line(op: LedgerOp): void;
  /** This process is the one that sends what waits in the outbox, or is it no more. */
  relays(is: boolean): void;
}
