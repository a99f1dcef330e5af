import type { ContainerPlan } from "../engine/container.ts";
import { ensureEngine } from "../engine/engine.ts";
import { ensureImage } from "../engine/image.ts";
import { toStderr, type Progress } from "../engine/progress.ts";
import { RabbitCluster } from "./cluster.ts";
import { rabbitmqImage } from "./image.ts";
import { RabbitNode, uniqueName } from "./node.ts";
import type { TlsListener } from "./tls.ts";

export interface StartOptions {
  /** @default lines on stderr */
  readonly progress?: Progress;
  /** More lines of rabbitmq.conf; a later line wins. @default "" */
  readonly config?: string;
}

export interface StartNodeOptions extends StartOptions {
  /** A TLS listener beside the plain one. @default none */
  readonly tls?: TlsListener;
  /** Beside the management. @default [] */
  readonly plugins?: readonly string[];
  /** Put into the container, for what `config` names. @default [] */
  readonly files?: ContainerPlan["files"];
}

/** One RabbitMQ node of its own: engine and image are found or made, and it serves AMQP when this resolves. */
export async function startRabbit(options: StartNodeOptions = {}): Promise<RabbitNode> {
  return await prepared("RabbitMQ", options, async (image, config) => {
    const name = uniqueName("tally-rabbit");
    const { tls = null, plugins = [], files = [] } = options;
    return await RabbitNode.start({ image, name, cookie: name, network: null, config, tls, plugins, files });
  });
}

/** Three nodes in one cluster, each serving AMQP, each knowing the other two, when this resolves. */
export async function startRabbitCluster(options: StartOptions = {}): Promise<RabbitCluster> {
  return await prepared("three RabbitMQ nodes", options, (image, config) => RabbitCluster.start(image, config));
}

async function prepared<T>(
  what: string,
  options: StartOptions,
  make: (image: string, config: string) => Promise<T>,
): Promise<T> {
  const progress = options.progress ?? toStderr;
  await ensureEngine(progress);
  const { reference } = await ensureImage(rabbitmqImage, progress);
  const started = performance.now();
  progress(`starting ${what} (${reference}) …`);
  const made = await make(reference, options.config ?? "");
  progress(`${what} up after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return made;
}
