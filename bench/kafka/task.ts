/** What one client does in one round: numbers that the parent and the client's process agree on. */
export interface KafkaTask {
  /** As in the figures: `256-window`. */
  readonly case: string;
  readonly client: KafkaClient;
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly bytes: number;
  readonly verb: "publish" | "consume";
  /** Messages in one call of the client's, which are sent one call after the other; null: one a call, `window` callers. */
  readonly call: number | null;
  /** Calls without an answer, at most; 1 awaits each. */
  readonly window: number;
  /** Milliseconds that the handler takes. */
  readonly handler: number;
  readonly warmup: number;
  readonly messages: number;
}

/** `kafkajs-defaults`: as its manual shows it, not idempotent. */
export type KafkaClient = "kafkajs" | "kafkajs-defaults" | "platformatic" | "confluent" | "tally";

export function keyOf(n: number): string {
  return `customer-${n % 600}`;
}

export const PARTITIONS = 6;
