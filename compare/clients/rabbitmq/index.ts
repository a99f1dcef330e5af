import type { OpenPublisher } from "../client.ts";

/** Each is loaded by name: a process holds the one client that it is about. */
export const RABBITMQ = {
  amqplib: async () => (await import("./amqplib.ts")).plain,
  "amqplib-confirm": async () => (await import("./amqplib.ts")).confirm,
  "amqp-connection-manager": async () => (await import("./amqp-connection-manager.ts")).asInReadme,
  "amqp-connection-manager-persistent": async () => (await import("./amqp-connection-manager.ts")).persistent,
  rascal: async () => (await import("./rascal.ts")).rascalPublisher,
  "rabbitmq-client": async () => (await import("./rabbitmq-client.ts")).rabbitmqClient,
  "cloudamqp-amqp-client": async () => (await import("./cloudamqp.ts")).cloudamqp,
  tally: async () => (await import("./tally.ts")).tally,
} as const satisfies Readonly<Record<string, () => Promise<OpenPublisher>>>;
