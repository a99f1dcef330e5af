import type { Channel } from "amqplib";
import { describe, expect, it } from "vitest";
import { askExchange, askQueue, type Opener, readReply } from "../src/questions.ts";

const queue = (words: string): object => ({ code: 406, message: `… "PRECONDITION_FAILED - ${words}"` });
const IN = "for queue 'q' in vhost '/'";

describe("an answer of RabbitMQ 4.0 is read", () => {
  const table: readonly (readonly [string, "queue" | "exchange", object, object | null])[] = [
    [
      "another value of the same kind",
      "queue",
      queue(`inequivalent arg 'x-delivery-limit' ${IN}: received '200' but current is '50'`),
      { is: "differs", setting: "x-delivery-limit", got: 50 },
    ],
    [
      "one that is not set",
      "queue",
      queue(
        `inequivalent arg 'x-single-active-consumer' ${IN}: received the value 'true' of type 'bool' but current is none`,
      ),
      { is: "differs", setting: "x-single-active-consumer", got: null },
    ],
    [
      "one that is set, and was not asked for",
      "queue",
      queue(
        `inequivalent arg 'x-dead-letter-routing-key' ${IN}: received none but current is the value '5' of type 'longstr'`,
      ),
      { is: "differs", setting: "x-dead-letter-routing-key", got: "5" },
    ],
    [
      "a number that was not asked for",
      "queue",
      queue(`inequivalent arg 'x-max-length' ${IN}: received none but current is the value '5' of type 'signedint'`),
      { is: "differs", setting: "x-max-length", got: 5 },
    ],
    [
      "not durable",
      "queue",
      queue(`inequivalent arg 'durable' ${IN}: received 'true' but current is 'false'`),
      { is: "differs", setting: "durable", got: false },
    ],
    [
      "an empty text",
      "queue",
      queue(`inequivalent arg 'x-dead-letter-exchange' ${IN}: received 'a' but current is ''`),
      { is: "differs", setting: "x-dead-letter-exchange", got: "" },
    ],
    [
      "a queue that is not there: the bait keeps it from being made",
      "queue",
      queue(`invalid arg 'x-max-age' ${IN} of queue type rabbit_quorum_queue`),
      { is: "missing" },
    ],
    [
      "an exchange that is not there",
      "exchange",
      queue("invalid type 'bool' for arg 'alternate-exchange' in exchange 'e' in vhost '/'"),
      { is: "missing" },
    ],
    [
      "an exchange of another type",
      "exchange",
      queue("inequivalent arg 'type' for exchange 'e' in vhost '/': received 'topic' but current is 'fanout'"),
      { is: "differs", setting: "type", got: "fanout" },
    ],
    [
      "an exchange in which only the bait differs",
      "exchange",
      queue(
        "inequivalent arg 'alternate-exchange' for exchange 'e' in vhost '/': received the value 'true' of type 'bool' but current is none",
      ),
      { is: "same" },
    ],
    [
      "no permission",
      "queue",
      { code: 403, message: "ACCESS_REFUSED - configure access to queue 'q' refused" },
      { is: "hidden", why: expect.stringContaining("permission") as string },
    ],
    ["other words", "queue", queue("something new"), null],
    ["another code", "queue", { code: 541, message: "INTERNAL_ERROR" }, null],
  ];
  it.each(table)("%s", (_name, what, thrown, expected) => {
    expect(readReply(what, thrown)).toEqual(expected);
  });
});

describe("asking goes on until nothing differs", () => {
  function broker(actual: Record<string, unknown>): { open: Opener; asked: object[] } {
    const asked: object[] = [];
    const assertQueue = (_name: string, o: { durable: boolean; arguments: Record<string, unknown> }): Promise<void> => {
      const { "x-max-age": bait, ...args } = o.arguments;
      const all: Record<string, unknown> = { durable: o.durable, ...args };
      asked.push(all);
      expect(bait).toBe("1D");
      const odd = [...new Set([...Object.keys(actual), ...Object.keys(all)])].find((k) => actual[k] !== all[k]);
      if (odd === undefined) return Promise.resolve();
      const value = actual[odd];
      const type = typeof value === "string" ? "longstr" : typeof value === "boolean" ? "bool" : "signedint";
      const current =
        value === undefined ? "none" : `the value '${String(value as string | number)}' of type '${type}'`;
      return Promise.reject(
        Object.assign(new Error(`inequivalent arg '${odd}' ${IN}: received 'x' but current is ${current}`), {
          code: 406,
        }),
      );
    };
    return {
      asked,
      open: () => Promise.resolve({ raw: { assertQueue } as unknown as Channel, close: () => Promise.resolve() }),
    };
  }

  it("all differences are named, as expected and as they are", async () => {
    const { open, asked } = broker({ durable: false, "x-queue-type": "classic", "x-max-length": 10 });
    const answer = await askQueue(open, {
      name: "q",
      arguments: { "x-queue-type": "quorum", "x-delivery-limit": 200 },
    });
    expect(answer).toEqual({
      is: "known",
      differences: [
        { setting: "durable", expected: true, got: false },
        { setting: "x-queue-type", expected: "quorum", got: "classic" },
        { setting: "x-max-length", expected: null, got: 10 },
        { setting: "x-delivery-limit", expected: 200, got: null },
      ],
    });
    expect(asked).toHaveLength(5);
  });

  it("an answer that is the same again is given up", async () => {
    const open: Opener = () =>
      Promise.resolve({
        raw: {
          assertExchange: () =>
            Promise.reject(
              Object.assign(new Error("inequivalent arg 'type' for exchange 'e': received 'x' but current is 'y'"), {
                code: 406,
              }),
            ),
        } as unknown as Channel,
        close: () => Promise.resolve(),
      });
    expect(await askExchange(open, { name: "e", type: "fanout", arguments: {} })).toMatchObject({ is: "hidden" });
  });

  it("no connection is no answer", async () => {
    const open: Opener = () => Promise.reject(new Error("gone"));
    await expect(askQueue(open, { name: "q", arguments: {} })).rejects.toThrow("gone");
  });
});
