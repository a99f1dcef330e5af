import { randomBytes } from "node:crypto";
import type { Host, Transport } from "@tallymq/core/spi";
import { rocketmq } from "@tallymq/rocketmq";
import { realClock, realRandom } from "@tallymq/testkit";
import type { RocketNode } from "./node.ts";

/** Core's part, for a transport that is only asked. */
const HOST: Host = { service: "tests", run: randomBytes(16).toString("hex"), clock: realClock, random: realRandom };
const WITHIN_MS = 30_000;

/** A topic of the kind NORMAL, for clients that cannot make theirs. */
export async function makeTopic(node: RocketNode, topic: string): Promise<void> {
  await using transport = asked(node, topic);
  await transport.admin.declare([{ name: "topic", ordered: false, groups: [] }], AbortSignal.timeout(WITHIN_MS));
}

/** What a group has not settled, by the broker's word; what its members hold may be missing. */
export async function backlogOf(node: RocketNode, topic: string, group: string): Promise<number> {
  await using transport = asked(node, topic, group);
  return await transport.admin.backlog("topic", "group", AbortSignal.timeout(WITHIN_MS));
}

function asked(node: RocketNode, topic: string, group = "none"): Transport {
  const topics = { topic: { topic, groups: { group } } };
  return rocketmq({ endpoints: [node.direct], names: [node.names], topics }).open(HOST);
}
