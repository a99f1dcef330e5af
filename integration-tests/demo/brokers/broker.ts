import type { Remaining } from "@tallymq/testkit/ledger";
import type { Endpoint } from "../../workload/endpoint.ts";
import type { BrokerName } from "../arguments.ts";

/** A broker that things can be done to. One more broker is one more of these. */
export interface DemoBroker extends AsyncDisposable {
  readonly name: BrokerName;
  /** Name and version, as the report shows it. */
  readonly title: string;
  readonly endpoint: Endpoint;
  /**
   * What has been declared so far outlives a kill: a quorum queue whose broker dies within two or three seconds of its
   * declaration may never serve again, whoever the client is, and that is not what the demo is about.
   */
  settle(): Promise<void>;
  /** kill -9 of its process, of several the one that leads; resolves when it is dead. */
  kill(): Promise<void>;
  /** After `kill()`: at the same address, with the same data; resolves when it serves, and could bear the next kill. */
  restart(): Promise<void>;
  /** Null: clients speak to the broker itself. Else who is between, to be killed with -9 and started again as the broker is. */
  readonly proxy: { kill(): Promise<void>; restart(): Promise<void> } | null;
  /** Breaks every connection at once; the broker lives on. */
  cut(): Promise<void>;
  /** What its queues hold, as the broker itself counts it. Deliveries that are out at consumers may be missing: ask without any. */
  backlog(): Promise<readonly Remaining[]>;
  /**
   * Resolves when what was out when it was asked is acked, or to be had again: where a delivery is nobody's for a while when its
   * consumer is gone, the count is of all that nobody has acked only then.
   */
  returned(): Promise<void>;
  /** What a run may take beyond twice its publishing, in milliseconds: above all this broker's starts after kills. */
  readonly slackMs: number;
}
