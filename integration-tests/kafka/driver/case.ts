import type { Driver } from "../../../packages/kafka/src/driver/driver.ts";
import type { KafkaNode } from "../../brokers/index.ts";

/** One thing that every driver must do, as data: the author of another driver runs the same ones. */
export interface DriverCase {
  readonly name: string;
  run(rig: DriverRig): Promise<void>;
}

/** Bytes that a compressed batch may become; a member is out of its group after so many milliseconds. */
export const LIMITS = { inflated: 1_000_000, session: 2_000 } as const;

export interface DriverRig {
  readonly node: KafkaNode;
  /** A driver with {@link LIMITS}, that looks for its broker there. @param fetchWait Milliseconds that a fetch waits for something. */
  driver(broker: string, fetchWait?: number): Driver;
}
