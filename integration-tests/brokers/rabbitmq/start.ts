import { ensureEngine } from "../engine/engine.ts";
import { ensureImage } from "../engine/image.ts";
import { toStderr, type Progress } from "../engine/progress.ts";
import { rabbitmqImage } from "./image.ts";
import { RabbitNode, uniqueName } from "./node.ts";

export interface StartOptions {
  /** @default lines on stderr */
  readonly progress?: Progress;
}

/** One RabbitMQ node of its own: engine and image are found or made, and it serves AMQP when this resolves. */
export async function startRabbit(options: StartOptions = {}): Promise<RabbitNode> {
  const progress = options.progress ?? toStderr;
  await ensureEngine(progress);
  const image = await ensureImage(rabbitmqImage, progress);
  const started = performance.now();
  progress(`starting RabbitMQ (${image.reference}) …`);
  const name = uniqueName("tally-rabbit");
  const node = await RabbitNode.start({ image: image.reference, name, cookie: name, network: null });
  progress(`RabbitMQ up on 127.0.0.1:${node.port} after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return node;
}
