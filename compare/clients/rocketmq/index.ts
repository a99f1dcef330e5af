import type { OpenPublisher } from "../client.ts";

/** Each is loaded by name: a process holds the one client that it is about. */
export const ROCKETMQ: Readonly<Record<string, () => Promise<OpenPublisher>>> = {
  "rocketmq-client-nodejs": async () => (await import("./rocketmq-client-nodejs.ts")).rocketmqClient,
  tally: async () => (await import("./tally.ts")).tally,
};
