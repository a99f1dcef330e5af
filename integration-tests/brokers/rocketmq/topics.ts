import { randomBytes } from "node:crypto";
import type { Host, Transport } from "@tallymq/core/spi";
import { rocketmq, type RocketOptions } from "@tallymq/rocketmq";
import { realClock, realRandom } from "@tallymq/testkit";
import type { RocketNode } from "./node.ts";

/** Core's part, for a transport that is only asked. */
const HOST: Host = { service: "tests", run: randomBytes(16).toString("hex"), clock: realClock, random: realRandom };
const WITHIN_MS = 30_000;

/** A transport that publishes and consumes nothing: what its admin says is the broker's own word. */
export function asking({ direct, names }: RocketNode, topics: NonNullable<RocketOptions["topics"]> = {}): Transport {
  return rocketmq({ endpoints: [direct], names: [names], topics }).open(HOST);
}

/** A topic of the kind NORMAL, for clients that cannot make theirs. */
export async function makeTopic(node: RocketNode, topic: string): Promise<void> {
  await using transport = asking(node, { made: { topic } });
  await transport.admin.declare([{ name: "made", ordered: false, groups: [] }], AbortSignal.timeout(WITHIN_MS));
}
