import type { OpenPublisher } from "./client.ts";
import { RABBITMQ } from "./rabbitmq/index.ts";
import { ROCKETMQ } from "./rocketmq/index.ts";

/** Brokers that have clients here, and their clients; a further broker is a folder beside `rabbitmq`. */
const CLIENTS: Readonly<Record<string, Readonly<Record<string, () => Promise<OpenPublisher>>>>> = {
  rabbitmq: RABBITMQ,
  rocketmq: ROCKETMQ,
};

export const BROKERS: readonly string[] = Object.keys(CLIENTS);

export function clientsOf(broker: string): readonly string[] {
  return Object.keys(CLIENTS[broker] ?? {});
}

/** @throws for a client that the broker does not have */
export async function loadClient(broker: string, client: string): Promise<OpenPublisher> {
  const load = CLIENTS[broker]?.[client];
  if (load === undefined) throw new Error(`no client ${client} for ${broker}`);
  return await load();
}
