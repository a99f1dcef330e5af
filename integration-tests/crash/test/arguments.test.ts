import { expect, test } from "vitest";
import { UsageError } from "../../command.ts";
import { parseArguments } from "../arguments.ts";
import { POINTS } from "../scenarios.ts";

test("without options each point runs once on both brokers", () => {
  const settings = { brokers: ["memory", "rabbitmq"], points: POINTS, rounds: 1, seed: 1, jobs: 4, json: null };
  expect(parseArguments([])).toEqual(settings);
});

test("a point is named, or a room of them", () => {
  expect(parseArguments(["--point", "relay.sent"])).toMatchObject({ points: ["relay.sent"] });
  expect(parseArguments(["--point", "outbox", "--broker", "memory"])).toMatchObject({
    brokers: ["memory"],
    points: ["outbox.putting", "outbox.stored"],
  });
});

test.for([
  [["--broker", "kafka"], /--broker is one of memory, rabbitmq/],
  [["--point", "relay.nowhere"], /no failpoint relay.nowhere/],
  [["--rounds", "0"], /whole number/],
  [["--pointt", "x"], /pointt/],
] as const)("%j is refused in words", ([given, words]) => {
  expect(() => parseArguments(given)).toThrow(UsageError);
  expect(() => parseArguments(given)).toThrow(words);
});
