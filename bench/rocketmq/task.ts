/** What one client does in one round: numbers that the parent and the client's process agree on. */
export interface RocketTask {
  /** As in the figures: `256-window`. */
  readonly case: string;
  readonly client: RocketClient;
  /** `host:port` of the proxy. */
  readonly endpoint: string;
  readonly topic: string;
  readonly bytes: number;
  /** Calls without an answer, at most; 1 awaits each. */
  readonly window: number;
  readonly warmup: number;
  readonly messages: number;
}

/** Of either client: on a busy machine 1,000 callers of the raw one wait for longer than its default of 3 s. */
export const REQUEST_MS = 30_000;

export type RocketClient = "rocketmq-client-nodejs" | "tally";
