import { expect, test } from "vitest";
import { UsageError } from "../../command.ts";
import { parseArguments } from "../arguments.ts";

test("without options it is 20,000 messages by Tally on the embedded broker", () => {
  expect(parseArguments([])).toEqual({
    broker: "memory",
    client: "tally",
    store: "sqlite",
    messages: 20_000,
    seed: 1,
    json: null,
    report: null,
  });
});

test("each option is taken", () => {
  const given = [
    "--broker",
    "rabbitmq",
    "--client",
    "amqplib",
    "--messages",
    "1000",
    "--seed",
    "7",
    "--json",
    "a.json",
    "--report",
    "b.html",
  ];
  expect(parseArguments(given)).toEqual({
    broker: "rabbitmq",
    client: "amqplib",
    store: "none",
    messages: 1000,
    seed: 7,
    json: "a.json",
    report: "b.html",
  });
});

test.for([
  [["--broker", "kafkaesque"], /--broker is one of/],
  [["--messages", "12.5"], /whole number/],
  [["--messages", "-4"], /--messages|ambiguous/],
  [["--client", "amqplib"], /rabbitmq only/],
  [["--store", "paper"], /--store is one of sqlite/],
  [["--client", "amqplib", "--broker", "rabbitmq", "--store", "sqlite"], /has no --store/],
  [["--mesages", "5"], /mesages/],
  [["stray"], /stray/],
] as const)("%j is refused in words", ([given, words]) => {
  expect(() => parseArguments(given)).toThrow(UsageError);
  expect(() => parseArguments(given)).toThrow(words);
});
