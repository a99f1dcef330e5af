import { type AuditFinding, findingsOf, type Looked } from "@tallymq/core/spi";
import { type Check, CHECKS } from "./checks.ts";
import type { World } from "./world.ts";

/** What lets a user see what it could not. */
const SEE =
  'rocketmq({ names: ["host:9876"] }), with the brokers\' ports (10911) and those of controllers open to this process';

/** All that the checks find in a world. */
export function judge(world: World): readonly AuditFinding[] {
  const filled = (text: string, name: string): string => text.replaceAll("<name>", name);
  return CHECKS.flatMap((check) => findingsOf(check, look(check, world), filled, () => SEE));
}

function look(check: Check, world: World): readonly Looked[] {
  const { destination, brokers, topics, groups } = world;
  switch (check.of) {
    case "cluster":
      return [{ kind: null, name: destination, found: check.look(world) }];
    case "broker":
      return brokers === null
        ? [{ kind: null, name: destination, found: "unseen" }]
        : brokers.map((one) => ({ kind: "broker", name: one.name, found: check.look(one, world) }));
    case "topic":
      return topics.map((one) => ({ kind: "topic", name: one.name, found: check.look(one, world) }));
    case "group":
      return groups.map((one) => ({ kind: "group", name: one.name, found: check.look(one, world) }));
  }
}
