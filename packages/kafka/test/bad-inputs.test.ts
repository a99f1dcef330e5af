// The rows of one table, as Kafka has them: its options, what its clients send, and what its brokers answer.
import { TallyError } from "@tallymq/core/spi";
import { kafka, type KafkaOptions } from "@tallymq/kafka";
import { turns } from "@tallymq/testkit";
import { ORDERS, outgoing, SenderJournal } from "@tallymq/testkit/port";
import { describe, expect, it } from "vitest";
import { SendFailure } from "../src/driver/driver.ts";
import { FakeDriver, ids, received, SIGNAL, taken } from "./fake-driver.ts";
import { Stage } from "./receiving.ts";

const OK = { brokers: ["localhost:9092"] };

function refused(given: object): TallyError {
  try {
    kafka({ ...OK, ...given } as KafkaOptions);
  } catch (thrown) {
    expect(TallyError.is(thrown) && thrown.code).toBe("bad-config");
    return thrown as TallyError;
  }
  throw new Error(`${JSON.stringify(given)} was taken`);
}

describe("no brokers, `brokers: []`; broker without a port; `http://` or malformed URL: rejected at construction, credentials redacted", () => {
  it.each([
    ["not given", { brokers: undefined }],
    ["null", { brokers: null }],
    ["an empty list", { brokers: [] }],
    ["a text", { brokers: "localhost:9092" }],
    ["a number", { brokers: [9092] }],
    ["without a port", { brokers: ["localhost"] }],
    ["an empty text", { brokers: [""] }],
    ["port 0", { brokers: ["localhost:0"] }],
    ["a URL", { brokers: ["kafka://user:s3cret@localhost:9092"] }],
    ["http", { brokers: ["http://user:s3cret@localhost:9092"] }],
    ["several in one", { brokers: ["user:s3cret@a:9092,b:9092"] }],
  ])("%s", (_, given) => {
    const error = refused(given);
    expect(error.message).toMatch(/brokers/);
    expect(error.message).not.toContain("s3cret");
  });
});

describe('timeout 0, −1, NaN, "5 parsecs", 2³¹: rejected', () => {
  const times = ["sessionTimeout", "heartbeat", "rebalanceTimeout", "connectTimeout", "requestTimeout", "fetchWait"];
  it.each(times)("%s", (name) => {
    for (const value of [0, -1, Number.NaN, "5 parsecs", 2 ** 31, Infinity, null])
      expect(refused({ [name]: value }).message).toContain(name);
  });
});

describe("a number of things 0, −1, half, NaN, as a text: rejected", () => {
  const numbers = [
    "partitions",
    "replicationFactor",
    "minInsyncReplicas",
    "maxBytes",
    "batchBytes",
    "fetchBytes",
    "readAhead",
  ];
  it.each(numbers)("%s", (name) => {
    for (const value of [0, -1, 1.5, Number.NaN, "6"]) expect(refused({ [name]: value }).message).toContain(name);
  });
});

describe("unknown option key: rejected, with the nearest known key", () => {
  it.each([
    ["partition", "partitions"],
    ["acks", null],
    ["idempotent", null],
    ["saslx", "sasl"],
  ])("%s", (key, nearest) => {
    expect(refused({ [key]: 1 }).message).toContain(nearest === null ? `"${key}"` : `did you mean "${nearest}"`);
  });
});

/** A sender with one message out. */
async function sending() {
  const driver = new FakeDriver();
  const transport = driver.transport();
  await transport.admin.declare([ORDERS], SIGNAL);
  const journal = new SenderJournal();
  const m = outgoing("m1", { key: "a" });
  const send = async (): Promise<void> => {
    const sender = await transport.openSender(journal.events, SIGNAL);
    sender.send(sender.lane(m, null), [m], journal.of([m]));
  };
  await send();
  return { driver, journal, send };
}

const failure = (type: string): SendFailure => new SendFailure(2, Object.assign(new Error(type), { type }));

describe("OUT_OF_ORDER_SEQUENCE, UNKNOWN_PRODUCER_ID: new producer, dedupe covers the gap", () => {
  it.each(["OUT_OF_ORDER_SEQUENCE_NUMBER", "UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"])(
    "%s",
    async (type) => {
      const { driver, journal, send } = await sending();
      driver.requests[0]!.fail(failure(type));
      await turns();
      expect(journal.lines).toEqual(["retired", "m1 doubt"]);
      expect(journal.verdicts.get("m1")).toMatchObject({ error: { mayArrive: true, retryable: true } });
      await send();
      const again = driver.requests[1]!;
      // The same id, by which a consumer's inbox makes one effect of both copies.
      expect([ids(again), again.producer]).toEqual([["m1"], 2]);
      taken(again);
      await turns();
      expect(journal.lines.at(-1)).toBe("m1 accepted");
    },
  );
});

describe("unknown error code: surfaced, treated as in doubt", () => {
  it.each(["NOBODY_KNOWS_THIS", "UNKNOWN_SERVER_ERROR", ""])("a rejection with %j", async (type) => {
    const { driver, journal } = await sending();
    driver.requests[0]!.fail(failure(type));
    await turns();
    expect(journal.lines).toEqual(["retired", "m1 doubt"]);
    expect(journal.errors[0]).toMatchObject({ retryable: true });
  });

  it.each([97, -1, 10_000])("an answer with %i", async (errorCode) => {
    const { driver, journal } = await sending();
    driver.requests[0]!.answer([{ partition: driver.requests[0]!.partition, errorCode, offset: 5 }]);
    await turns();
    expect(journal.lines).toEqual(["retired", "m1 doubt"]);
  });

  it("what is no error at all", async () => {
    const { driver, journal } = await sending();
    driver.requests[0]!.fail(undefined);
    await turns();
    expect(journal.lines).toEqual(["retired", "m1 doubt"]);
  });
});

describe("delivery after cancel: ignored", () => {
  it("what a fetch brings after the stop, or after the end, is nobody's, and is not committed", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1);
    await stage.ack(0, 1);
    await stage.receiver.stop();
    await stage.fetch(0, 2, 3);
    expect(stage.offsets).toEqual([0, 1]);
    await stage.receiver[Symbol.asyncDispose]();
    await stage.fetch(0, 4);
    expect(stage.offsets).toEqual([0, 1]);
    expect(stage.member.last(0)?.offset).toBe(2);
    expect(stage.said).toEqual([]);
  });

  it("of a partition that is somebody else's by now", async () => {
    const stage = await new Stage().open();
    await stage.rebalance(1);
    await stage.fetch(0, 0);
    expect(stage.offsets).toEqual([]);
  });
});

describe('spoofed Tally header (attempt −1, "abc", 1e308; foreign id): treated as 1, surfaced; attempts capped', () => {
  it.each(["-1", "abc", "1e308", "", "0", "1.5"])("attempt %j", async (attempt) => {
    const stage = await new Stage().open();
    const { headers, ...record } = received(0);
    stage.member.events.fetched("orders", 0, [
      { ...record, headers: { ...headers, "tally-attempt": Buffer.from(attempt) } },
    ]);
    await turns();
    expect(stage.got[0]?.message.attempt).toBe(1);
    expect(stage.said).toEqual([expect.stringMatching(/^surfaced .*tally-attempt/)]);
  });
});

it("an admin client that could not be opened, whatever the reason, is opened anew by the next call", async () => {
  const driver = new FakeDriver();
  const transport = driver.transport();
  const open = driver.admin.bind(driver);
  driver.admin = () => Promise.reject(new TallyError("unreachable", "sasl.password() failed", { retryable: true }));
  await expect(transport.admin.declare([ORDERS], SIGNAL)).rejects.toMatchObject({ code: "unreachable" });
  driver.admin = open;
  await transport.admin.declare([ORDERS], SIGNAL);
  await transport[Symbol.asyncDispose]();
});
