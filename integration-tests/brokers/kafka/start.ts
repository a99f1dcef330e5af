import { ensureEngine } from "../engine/engine.ts";
import { ensureImage } from "../engine/image.ts";
import { toStderr, type Progress } from "../engine/progress.ts";
import { uniqueName } from "../rabbitmq/node.ts";
import { KafkaCluster } from "./cluster.ts";
import { PORTS } from "./config.ts";
import { kafkaImage } from "./image.ts";
import { KafkaNode, newClusterId } from "./node.ts";
import type { SecureListeners } from "./secure.ts";

export interface KafkaClusterOptions {
  /** @default lines on stderr */
  readonly progress?: Progress;
  /** More lines of server.properties; a later line wins. @default "" */
  readonly config?: string;
}

export interface KafkaStartOptions extends KafkaClusterOptions {
  /** @default none: whoever comes is let in */
  readonly secure?: SecureListeners;
}

/** One Kafka node of its own: engine and image are found or made, and it answers when this resolves. */
export async function startKafka(options: KafkaStartOptions = {}): Promise<KafkaNode> {
  return await prepared("Kafka", options, (image, config) =>
    KafkaNode.start({
      image,
      name: uniqueName("tally-kafka"),
      cluster: newClusterId(),
      node: 1,
      voters: `1@127.0.0.1:${PORTS.controller}`,
      nodes: 1,
      network: null,
      secure: options.secure ?? null,
      config,
    }),
  );
}

/**
 * Three Kafka nodes in one cluster, replication factor 3, `min.insync.replicas` 2; each answers, and knows the other
 * two, when this resolves.
 */
export async function startKafkaCluster(options: KafkaClusterOptions = {}): Promise<KafkaCluster> {
  return await prepared("three Kafka nodes", options, (image, config) => KafkaCluster.start(image, config));
}

async function prepared<T>(
  what: string,
  options: KafkaClusterOptions,
  make: (image: string, config: string) => Promise<T>,
): Promise<T> {
  const progress = options.progress ?? toStderr;
  await ensureEngine(progress);
  const { reference } = await ensureImage(kafkaImage, progress);
  const started = performance.now();
  progress(`starting ${what} (${reference}) …`);
  const made = await make(reference, options.config ?? "");
  progress(`${what} up after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return made;
}
