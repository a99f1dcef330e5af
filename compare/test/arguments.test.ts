import { expect, it } from "vitest";
import { UsageError } from "../../integration-tests/command.ts";
import { parseArguments } from "../arguments.ts";
import { SCENARIOS } from "../faults/kafka/scenarios.ts";
import { sharesOf } from "../faults/kills.ts";

const parse = (line: string): ReturnType<typeof parseArguments> => parseArguments(line.split(" "));

it("are 20,000 messages at 1,000/s and two kills, for every client of the broker", () => {
  expect(parse("faults --broker rabbitmq")).toEqual({
    broker: "rabbitmq",
    clients: [
      "amqplib",
      "amqplib-confirm",
      "amqp-connection-manager",
      "amqp-connection-manager-persistent",
      "rascal",
      "rabbitmq-client",
      "cloudamqp-amqp-client",
      "tally",
    ],
    messages: 20_000,
    rate: 1_000,
    kills: 2,
    json: null,
  });
});

it("are, for Kafka, every scenario and client, 1,500 messages each at 150/s", () => {
  expect(parse("faults --broker kafka --scenarios cut,two-leaders")).toEqual({
    broker: "kafka",
    scenarios: ["two-leaders", "cut"],
    clients: ["kafkajs-idempotent", "kafkajs", "platformatic", "tally"],
    messages: 1_500,
    rate: 150,
    json: null,
  });
  expect(parse("faults --broker kafka")).toMatchObject({ scenarios: SCENARIOS.map(({ name }) => name) });
});

it("are, for RocketMQ, the raw client and Tally at 500/s, and two kills", () => {
  expect(parse("faults --broker rocketmq")).toEqual({
    broker: "rocketmq",
    clients: ["rocketmq-client-nodejs", "tally"],
    messages: 20_000,
    rate: 500,
    kills: 2,
    json: null,
  });
});

it("name the clients in the order in which they stand", () => {
  expect(parse("faults --broker rabbitmq --clients tally,rascal")).toMatchObject({ clients: ["rascal", "tally"] });
});

it("refuse a broker that is not here, and every other mistake, in words", () => {
  const refused = (line: string): string => {
    try {
      parse(line);
    } catch (error) {
      if (error instanceof UsageError) return error.message;
    }
    return "taken";
  };
  expect(refused("faults --broker redis")).toBe('--broker is one of rabbitmq, rocketmq, kafka; not "redis"');
  expect(refused("faults")).toBe("--broker is one of rabbitmq, rocketmq, kafka; it must be given");
  expect(refused("faults --broker kafka --kills 2")).toBe("--kills means nothing with --broker kafka");
  expect(refused("faults --broker rabbitmq --scenarios cut")).toBe("--scenarios means nothing with --broker rabbitmq");
  expect(refused("faults --broker kafka --scenarios flood")).toMatch(/^--scenarios are some of .*; not "flood"$/);
  expect(refused("speed --broker rabbitmq")).toBe('what is compared is "faults"; not "speed"');
  expect(refused("faults --broker rabbitmq --clients tally,bunny")).toMatch(/^--clients are some of .*; not "bunny"$/);
  expect(refused("faults --broker rabbitmq --kills 0")).toMatch(/^--kills is a whole number/);
  expect(refused("faults --broker rabbitmq --messages many")).toMatch(/^--messages is a whole number/);
  expect(refused("faults --broker rabbitmq --clint x")).toMatch(/clint/);
});

it("spread the kills over the run, each while something is still to be published", () => {
  expect(sharesOf(1)).toEqual([0.4]);
  expect(sharesOf(2)).toEqual([0.2, 0.75]);
  expect(sharesOf(3)).toEqual([0.2, expect.closeTo(0.475), 0.75]);
});
