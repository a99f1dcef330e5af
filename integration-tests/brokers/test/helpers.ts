import { connect, type ChannelModel, type ConfirmChannel } from "amqplib";
import { ensureEngine, type Engine } from "../engine/engine.ts";
import { silent } from "../engine/progress.ts";
import { BrokerContainer, type ContainerPlan } from "../engine/container.ts";
import { ensureImage } from "../engine/image.ts";
import { rabbitmqImage } from "../rabbitmq/image.ts";
import { uniqueName } from "../rabbitmq/node.ts";

export interface Client extends AsyncDisposable {
  readonly connection: ChannelModel;
  readonly channel: ConfirmChannel;
  /** Resolves with the first error of the connection, or null for a close without one. */
  readonly lost: Promise<Error | null>;
}

/** Plain amqplib, as a user without Tally has it. */
export async function client(url: string, heartbeat = 0): Promise<Client> {
  const connection = await connect(`${url}${url.includes("?") ? "&" : "?"}heartbeat=${heartbeat}`, { noDelay: true });
  const { promise: lost, resolve } = Promise.withResolvers<Error | null>();
  connection.on("error", resolve);
  connection.on("close", () => resolve(null));
  const channel = await connection.createConfirmChannel();
  channel.on("error", () => {});
  // A test that fails while its broker is frozen must not hang in its own cleaning.
  const close = async (): Promise<void> => void (await stateAfter(connection.close(), 3_000));
  return { connection, channel, lost, [Symbol.asyncDispose]: close };
}

export async function quorumQueue(channel: ConfirmChannel, name = uniqueName("queue")): Promise<string> {
  await channel.assertQueue(name, { durable: true, arguments: { "x-queue-type": "quorum" } });
  return name;
}

/** Publishes one persistent message; resolves at its confirm, rejects at its nack or the channel's end. */
export function publish(channel: ConfirmChannel, queue: string, body: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.sendToQueue(queue, body, { persistent: true }, (error: unknown) =>
      error === null ? resolve() : reject(error),
    );
  });
}

/** "pending" when nothing has happened after `ms`. */
export async function stateAfter(promise: Promise<unknown>, ms: number): Promise<"pending" | "settled"> {
  const settled = promise.then(
    () => "settled" as const,
    () => "settled" as const,
  );
  const { promise: late, resolve } = Promise.withResolvers<"pending">();
  const timer = setTimeout(() => resolve("pending"), ms);
  try {
    return await Promise.race([settled, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A container that is up at once: the broker's image with a shell in it. */
export async function smallContainer(script: string): Promise<BrokerContainer> {
  const { reference } = await ensureImage(rabbitmqImage);
  const plan: ContainerPlan = {
    image: reference,
    name: uniqueName("tally-small"),
    ports: [5672],
    entrypoint: ["/bin/sh", "-c", script],
    environment: {},
    files: [],
    labels: {},
    network: null,
    readyLine: /ready/,
    readyWithin: 20_000,
  };
  return await BrokerContainer.start(plan);
}

export async function engine(): Promise<Engine> {
  return await ensureEngine(silent);
}
