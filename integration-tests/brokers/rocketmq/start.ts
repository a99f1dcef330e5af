import { ensureEngine } from "../engine/engine.ts";
import { ensureImage } from "../engine/image.ts";
import { toStderr, type Progress } from "../engine/progress.ts";
import { uniqueName } from "../rabbitmq/node.ts";
import { rocketImage } from "./image.ts";
import { RocketNode, type RocketNodePlan } from "./node.ts";
import type { Secure } from "./secure.ts";
import type { Shape } from "./shapes.ts";

export interface RocketStartOptions {
  /** @default lines on stderr */
  readonly progress?: Progress;
  /** More lines of broker.conf; a later line wins. @default "" */
  readonly config?: string;
  /** @default "one" */
  readonly shape?: Shape;
  /** TLS, and users. @default none: anybody may come */
  readonly secure?: Secure;
  /** How the parts' code is compiled: `full` is faster after minutes, and slower until then. @default "quick" */
  readonly jit?: RocketNodePlan["jit"];
}

/** One RocketMQ of its own: engine and image are found or made, and it takes messages when this resolves. */
export async function startRocket(options: RocketStartOptions = {}): Promise<RocketNode> {
  const progress = options.progress ?? toStderr;
  await ensureEngine(progress);
  const { reference } = await ensureImage(rocketImage, progress);
  const started = performance.now();
  progress(`starting RocketMQ (${reference}) …`);
  const node = await RocketNode.start({
    image: reference,
    name: uniqueName("tally-rocketmq"),
    config: options.config ?? "",
    shape: options.shape ?? "one",
    secure: options.secure ?? null,
    jit: options.jit ?? "quick",
  });
  progress(`RocketMQ up after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return node;
}
