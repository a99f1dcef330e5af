import { expect, test } from "vitest";
import { UsageError } from "../../command.ts";
import { parseArguments } from "../arguments.ts";
import { OF_CONSUMERS, POINTS } from "../scenarios.ts";

const everywhere = <T>(points: T) => ({ memory: points, rabbitmq: points, kafka: points });

test("without options each point runs once on each broker, but on Kafka those of a consumer", () => {
  const points = { ...everywhere(POINTS), kafka: OF_CONSUMERS };
  const settings = { brokers: ["memory", "rabbitmq", "kafka"], points, rounds: 1, seed: 1, jobs: 4, json: null };
  expect(parseArguments([])).toEqual(settings);
  expect(OF_CONSUMERS).toContain("settlement.due");
  expect(OF_CONSUMERS).not.toContain("publisher.sent");
});

test("all means all, on Kafka too", () => {
  expect(parseArguments(["--broker", "kafka", "--point", "all"])).toMatchObject({ points: { kafka: POINTS } });
});

test("a point is named, or a room of them", () => {
  expect(parseArguments(["--point", "relay.sent"])).toMatchObject({ points: everywhere(["relay.sent"]) });
  expect(parseArguments(["--point", "outbox", "--broker", "memory"])).toMatchObject({
    brokers: ["memory"],
    points: everywhere(["outbox.putting", "outbox.stored"]),
  });
});

test.for([
  [["--broker", "rocketmq"], /--broker is one of memory, rabbitmq, kafka/],
  [["--point", "relay.nowhere"], /no failpoint relay.nowhere/],
  [["--rounds", "0"], /whole number/],
  [["--pointt", "x"], /pointt/],
] as const)("%j is refused in words", ([given, words]) => {
  expect(() => parseArguments(given)).toThrow(UsageError);
  expect(() => parseArguments(given)).toThrow(words);
});
