import { randomBytes } from "node:crypto";
import { ensureEngine } from "../engine/engine.ts";
import { ensureImage } from "../engine/image.ts";
import { toStderr, type Progress } from "../engine/progress.ts";
import { uniqueName } from "../rabbitmq/node.ts";
import { PORTS } from "./config.ts";
import { kafkaImage } from "./image.ts";
import { KafkaNode } from "./node.ts";
import type { SecureListeners } from "./secure.ts";

export interface KafkaStartOptions {
  /** @default lines on stderr */
  readonly progress?: Progress;
  /** More lines of server.properties; a later line wins. @default "" */
  readonly config?: string;
  /** @default none: whoever comes is let in */
  readonly secure?: SecureListeners;
}

/** One Kafka node of its own: engine and image are found or made, and it answers when this resolves. */
export async function startKafka(options: KafkaStartOptions = {}): Promise<KafkaNode> {
  const progress = options.progress ?? toStderr;
  await ensureEngine(progress);
  const { reference } = await ensureImage(kafkaImage, progress);
  const started = performance.now();
  progress(`starting Kafka (${reference}) …`);
  const node = await KafkaNode.start({
    image: reference,
    name: uniqueName("tally-kafka"),
    // Kafka's tools take an id that begins with a dash for an option.
    cluster: randomBytes(16).toString("base64url").replace(/^-/, "A"),
    node: 1,
    voters: `1@127.0.0.1:${PORTS.controller}`,
    nodes: 1,
    network: null,
    secure: options.secure ?? null,
    config: options.config ?? "",
  });
  progress(`Kafka up after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return node;
}
