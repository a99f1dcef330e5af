import type { RocketNode } from "../../integration-tests/brokers/index.ts";
import { makeTopic } from "../../integration-tests/brokers/rocketmq/topics.ts";
import type { Measure } from "../cases.ts";
import { measure } from "../rounds.ts";
import type { RocketShape } from "./cases.ts";

const CLIENT = new URL("client.ts", import.meta.url);

/** Plays a task on a broker, each time on a topic of its own. */
export function onTopic(node: RocketNode): (shape: RocketShape, round: number) => Promise<Measure> {
  return async (shape, round) => {
    const topic = `bench-${round}-${shape.case}-${shape.client}`;
    await makeTopic(node, topic);
    return await measure({ ...shape, endpoint: node.direct, topic }, CLIENT);
  };
}
