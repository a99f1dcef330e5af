import { loadClient } from "../../compare/clients/index.ts";
import type { PeerName, Task } from "../cases.ts";
import type { Client } from "./task.ts";
import { bodyOf, publishWindow } from "./publish-window.ts";

const NAMES: Readonly<Record<PeerName, string>> = {
  // Persistent, as the others are.
  "amqp-connection-manager": "amqp-connection-manager-persistent",
  "rabbitmq-client": "rabbitmq-client",
  "cloudamqp-amqp-client": "cloudamqp-amqp-client",
  rascal: "rascal",
};

/** A peer as `compare` puts it to use: its own promise a message, confirmed. */
export async function peer({ client, broker, bytes }: Task & { readonly client: PeerName }): Promise<Client> {
  if (broker === null) throw new Error(`${client} needs a broker`);
  const open = await loadClient("rabbitmq", NAMES[client]);
  const publisher = await open({ ...broker, outbox: "" });
  const body = Buffer.from(bodyOf(bytes));
  return {
    run: (from, messages, window) =>
      publishWindow((n) => publisher.publish(`order-${n}`, body), from, messages, window),
    close: async () => await publisher[Symbol.asyncDispose](),
  };
}
