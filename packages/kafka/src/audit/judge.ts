import { type AuditFinding, findingsOf, type Looked } from "@tallymq/core/spi";
import { type Check, CHECKS } from "./checks.ts";
import type { World } from "./world.ts";

/** What lets a user see what it could not. */
const RIGHTS: Readonly<Record<Check["of"], string>> = {
  topic:
    "kafka-acls --bootstrap-server <brokers> --add --allow-principal User:<you> --operation Describe --operation DescribeConfigs --topic <name>",
  group:
    "kafka-acls --bootstrap-server <brokers> --add --allow-principal User:<you> --operation Describe --group <name>",
  broker:
    "kafka-acls --bootstrap-server <brokers> --add --allow-principal User:<you> --operation DescribeConfigs --cluster",
};

/** All that the checks find in a world. */
export function judge(world: World): readonly AuditFinding[] {
  const filled = (text: string, name: string): string =>
    text.replaceAll("<name>", name).replaceAll("<brokers>", world.bootstrap);
  return CHECKS.flatMap((check) =>
    findingsOf(check, look(check, world), filled, (name) => filled(RIGHTS[check.of], name)),
  );
}

function look(check: Check, world: World): readonly Looked[] {
  const { destination, groups, topics } = world;
  switch (check.of) {
    case "broker":
      return [{ kind: null, name: destination, found: check.look(world) }];
    case "group":
      return groups.map((one) => ({ kind: "group", name: one.name, found: check.look(one) }));
    case "topic":
      return topics.map((one) => ({ kind: "topic", name: one.name, found: check.look(one, world) }));
  }
}
