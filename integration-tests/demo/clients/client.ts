import type { BrokerName } from "../arguments.ts";
import type { Endpoint } from "../brokers/broker.ts";
import type { Order } from "../workload/order.ts";

/** A way to publish and consume; the workload, the faults and the judge are the same for each. */
export interface Client {
  readonly brokers: readonly BrokerName[];
  /** `publish()` resolves after the broker's answer. Without that no call is ever in flight when a fault hits. */
  readonly awaitsAnswer: boolean;
  /** Says how often it sent a message again. */
  readonly countsResends: boolean;
  publisher(endpoint: Endpoint, notes: Notes): Promise<Publisher>;
  /** Delivers from here on, also before the promise resolves. Disposing lets running handlers finish. */
  consumer(endpoint: Endpoint, name: string, handle: Handle, notes: Notes): Promise<AsyncDisposable>;
}

export interface Publisher extends AsyncDisposable {
  /**
   * Resolves when the application may forget the order: `confirmed` if the broker said so, `stored` if the outbox did, null if nobody did.
   * @throws Rejected
   */
  publish(order: Order): Promise<"confirmed" | "stored" | null>;
  resends(): number;
}

/** Resolves when the delivery may be acked. `deliveries`: as the broker counts them, null where it does not. */
export type Handle = (order: Order, deliveries: number | null) => Promise<void>;

/** What a client tells beside its answers; each is a line of the ledger. */
export interface Notes {
  resent(id: string, copy: number): void;
  surfaced(kind: string, id: string | null): void;
}

export class Rejected extends Error {
  /** True: no copy may take effect any more. */
  readonly definite: boolean;

  constructor(message: string, definite: boolean, cause: unknown) {
    super(message, { cause });
    this.definite = definite;
  }
}
