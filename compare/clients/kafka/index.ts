import type { OpenKafka } from "./client.ts";

/** Each is loaded by name: a process holds the one client that it is about. */
const KAFKA = {
  "kafkajs-idempotent": async () => (await import("./kafkajs.ts")).idempotent,
  kafkajs: async () => (await import("./kafkajs.ts")).plain,
  platformatic: async () => (await import("./platformatic.ts")).platformatic,
  tally: async () => (await import("./tally.ts")).tally,
} as const satisfies Readonly<Record<string, () => Promise<OpenKafka>>>;

export const KAFKA_CLIENTS: readonly string[] = Object.keys(KAFKA);

/** @throws for a client that is not here */
export async function loadKafkaClient(client: string): Promise<OpenKafka> {
  const load = (KAFKA as Readonly<Record<string, (() => Promise<OpenKafka>) | undefined>>)[client];
  if (load === undefined) throw new Error(`no client ${client} for kafka`);
  return await load();
}
