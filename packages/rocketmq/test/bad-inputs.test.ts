// The rows of one table, as RocketMQ has them: its options, what its clients send, and what its proxies and brokers answer.
import { DEAD_LETTERS, type Outgoing, TallyError } from "@tallymq/core/spi";
import { rocketmq, type RocketOptions } from "@tallymq/rocketmq";
import { turns } from "@tallymq/testkit";
import { ORDERS, outgoing, SenderJournal } from "@tallymq/testkit/port";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bodyOf, incoming, properties } from "../src/codec.ts";
import { OK } from "../src/driver/driver.ts";
import { AnswerReader } from "../src/remoting/frames.ts";
import { FakeCluster } from "./fake-cluster.ts";
import { came, FakeDriver, ids, no, ORDERED, type Poll, SIGNAL, stored } from "./fake-driver.ts";
import { Stage } from "./receiving.ts";

const GIVEN = { endpoints: ["localhost:8081"] };

function refused(given: object): TallyError {
  try {
    rocketmq({ ...GIVEN, ...given } as RocketOptions);
  } catch (thrown) {
    expect(TallyError.is(thrown) && thrown.code).toBe("bad-config");
    return thrown as TallyError;
  }
  throw new Error("it was taken");
}

describe("no brokers, `brokers: []`; broker without a port; `http://` or malformed URL: rejected at construction, credentials redacted", () => {
  const bad: readonly (readonly [string, unknown])[] = [
    ["null", null],
    ["an empty list", []],
    ["a text", "localhost:8081"],
    ["a number", [8081]],
    ["without a port", ["localhost"]],
    ["an empty text", [""]],
    ["port 0", ["localhost:0"]],
    ["port 65536", ["localhost:65536"]],
    ["a URL", ["rocketmq://user:s3cret@localhost:8081"]],
    ["http", ["http://user:s3cret@localhost:8081"]],
    ["several in one", ["user:s3cret@a:8081;b:8081"]],
    ["IPv6 without brackets", ["::1:8081"]],
  ];
  it.each(bad)("endpoints: %s", (_, endpoints) => {
    const { message } = refused({ endpoints });
    expect(message).toMatch(/endpoints/);
    expect(message).not.toContain("s3cret");
  });

  it("endpoints: not given", () => {
    expect(refused({ endpoints: undefined }).message).toMatch(/endpoints must be given/);
  });

  it.each(bad)("names: %s", (_, names) => {
    const { message } = refused({ names });
    expect(message).toMatch(/names/);
    expect(message).not.toContain("s3cret");
  });
});

describe('timeout 0, −1, NaN, "5 parsecs", 2³¹: rejected', () => {
  it.each(["invisible", "receiveWait", "connectTimeout", "requestTimeout", "heartbeat"])("%s", (name) => {
    for (const value of [0, -1, Number.NaN, "5 parsecs", 2 ** 31, Infinity, null])
      expect(refused({ [name]: value }).message).toContain(name);
  });
});

describe("a number of things 0, −1, half, NaN, as a text: rejected", () => {
  it.each(["queues", "maxBytes", "batchBytes", "batchMessages", "requests"])("%s", (name) => {
    for (const value of [0, -1, 1.5, Number.NaN, "6", 1e12]) expect(refused({ [name]: value }).message).toContain(name);
  });
});

describe("unknown option key: rejected, with the nearest known key", () => {
  it.each([
    ["endpoint", "endpoints"],
    ["queue", "queues"],
    ["namespace", null],
    ["maxAttempts", null],
    ["credential", "credentials"],
  ])("%s", (key, nearest) => {
    expect(refused({ [key]: 1 }).message).toContain(nearest === null ? `"${key}"` : `did you mean "${nearest}"`);
  });

  it("also one level down", () => {
    expect(refused({ topics: { orders: { topik: "x" } } }).message).toContain('did you mean "topic"');
    expect(refused({ credentials: { accessKey: "a", secretKey: "s3cret", token: "x" } }).message).not.toContain(
      "s3cret",
    );
  });
});

describe("configuration with `__proto__`: rejected", () => {
  const given = (text: string): object => JSON.parse(text) as object;
  it.each([
    ["at the top", given('{"__proto__":{"queues":1}}')],
    ["of a topic", given('{"topics":{"orders":{"__proto__":{"declare":false}}}}')],
    ["as a topic", given('{"topics":{"__proto__":{"declare":false}}}')],
    ["of credentials", given('{"credentials":{"__proto__":{"accessKey":"a","secretKey":"b"}}}')],
  ])("%s", (_, options) => {
    expect(refused(options).message).toMatch(/__proto__/);
    expect(({} as { queues?: unknown }).queues).toBeUndefined();
  });
});

/** A sender, and what its session says. */
async function sending(options: Partial<RocketOptions> = {}) {
  const driver = new FakeDriver();
  const transport = driver.transport(options);
  await transport.admin.declare([ORDERS, ORDERED], SIGNAL);
  const journal = new SenderJournal();
  const sender = await transport.openSender(journal.events, SIGNAL);
  const send = (...batch: readonly Outgoing[]): void => {
    for (const [lane, some] of Map.groupBy(batch, (m) => sender.lane(m, null)))
      sender.send(lane, some, journal.of(some));
  };
  return { driver, journal, send };
}

const there = (given: Partial<Outgoing>) => {
  const sent = outgoing("1", given);
  return incoming("orders", came("1", { properties: properties(sent), body: bodyOf(sent) }));
};

describe("empty buffer, null where the codec allows it: round-trips", () => {
  it("with a byte in its place, which the proxy needs", () => {
    expect(there({ body: new Uint8Array(0) }).body).toHaveLength(0);
    expect(there({ body: Buffer.from("null") }).body).toEqual(Buffer.from("null"));
  });
});

describe("one byte over the limit: rejected before the outbox", () => {
  it("core is told the limit, and the sender keeps it for what comes another way", async () => {
    const { driver, journal, send } = await sending({ maxBytes: 10 });
    expect(driver.transport({ maxBytes: 10 }).traits.maxBytes).toBe(10);
    send(outgoing("fits", { body: Buffer.alloc(10) }), outgoing("over", { body: Buffer.alloc(11) }));
    expect(driver.requests.map(ids)).toEqual([["fits"]]);
    expect(journal.verdicts.get("over")).toMatchObject({
      kind: "refused",
      error: { code: "too-large", mayArrive: false },
    });
  });
});

describe("CR/LF in a header: escaped in logs and pages", () => {
  it("arrives as it was: it is in no property, which a line would end", () => {
    const headers = { note: "a\r\nb", "bad\nname": "c" };
    expect({ ...there({ headers }).headers }).toEqual(headers);
    for (const [name, value] of properties(outgoing("1", { headers }))) expect(name + value).not.toMatch(/[\r\n]/);
  });
});

describe("received `__proto__` / `constructor` header: null-prototype copy, no pollution", () => {
  it("as properties, and as what our own property holds", () => {
    const got = incoming(
      "orders",
      came("1", {
        properties: new Map([
          ["__proto__", "x"],
          ["constructor", "y"],
          ["tally-more", '{"__proto__":"z","prototype":"p"}'],
        ]),
      }),
    );
    expect(Object.getPrototypeOf(got.headers)).toBeNull();
    expect(Object.entries(got.headers).toSorted()).toEqual([
      ["__proto__", "z"],
      ["constructor", "y"],
      ["prototype", "p"],
    ]);
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });
});

describe('spoofed Tally header (attempt −1, "abc", 1e308; foreign id): treated as 1, surfaced; attempts capped', () => {
  it.each(["-1", "abc", "1e308", "0", "1.5"])("attempt %j", async (attempt) => {
    const stage = await new Stage().open();
    const spoofed = came("m0", {
      properties: new Map([
        ["tally-id", "m0"],
        ["tally-attempt", attempt],
      ]),
    });
    stage.link.poll("orders").bring(spoofed, { ...spoofed, handle: "m1", messageId: "m1" });
    await turns();
    expect(stage.got.map(({ message: { attempt: read } }) => read)).toEqual([1, 1]);
    // Once a session.
    expect(stage.said).toEqual([expect.stringMatching(/^surfaced .*tally-attempt/)]);
  });

  it.each(["{", "[]", "null", '"x"', '{"tally-id":7}', '{"a":{"b":"c"}}'])("our own property is %s", (more) => {
    const got = incoming("orders", came("1", { properties: new Map([["tally-more", more]]) }));
    expect(got.id).toBeNull();
    expect({ ...got.headers }).toEqual({});
  });
});

describe('key null / 10 MB; routing key over 255 bytes; `expiration: "abc"`: documented / rejected before the channel closes', () => {
  it("a key that no message group can be is a hash of it, and arrives as it was", async () => {
    const key = "k".repeat(10 * 1024);
    const { driver, send } = await sending();
    send(outgoing("1", { topic: "steps", ordered: true, key }));
    const [sent] = driver.requests[0]!.messages;
    expect(sent!.messageGroup).toMatch(/^[0-9a-f]{16}$/);
    expect(there({ key }).key).toBe(key);
    expect(there({ key: null }).key).toBeNull();
  });

  it("more than RocketMQ takes of properties is refused alone, before anything leaves", async () => {
    const { driver, journal, send } = await sending();
    send(outgoing("10 MB", { key: "k".repeat(10 * 1024 * 1024) }), outgoing("fine"));
    expect(driver.requests.map(ids)).toEqual([["fine"]]);
    expect(journal.verdicts.get("10 MB")).toMatchObject({ kind: "refused", error: { code: "too-large" } });
  });

  it("a raw property is refused by name", async () => {
    const { driver, journal, send } = await sending();
    send(outgoing("1", { native: { expiration: "abc" } }));
    expect(driver.requests).toEqual([]);
    expect(journal.verdicts.get("1")).toMatchObject({ error: { code: "bad-message", message: /"expiration"/ } });
  });

  it.each([
    ["a topic", "per%cent", "billing"],
    ["a topic in which a dot meets an underscore", "a._b", "billing"],
    ["a topic of 200 letters", "t".repeat(200), "billing"],
    ["a group", "orders", "gr%oup"],
    ["a group of 300 letters", "orders", "g".repeat(300)],
  ])("%s that RocketMQ cannot have is refused without asking anybody", async (_, name, group) => {
    const cluster = new FakeCluster();
    const { admin } = new FakeDriver().transport({}, cluster.cluster());
    const thrown: unknown = await admin
      .declare([{ name, ordered: false, groups: [group, DEAD_LETTERS] }], SIGNAL)
      .catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: "topology", retryable: false });
    expect(cluster.made).toEqual([]);
  });
});

describe("unknown error code: surfaced, treated as in doubt", () => {
  it.each([0, -1, 1, 19_999, 20_001, 49_999, 59_999, 1e9, Number.NaN])("an answer with %d", async (code) => {
    const { driver, journal, send } = await sending();
    send(outgoing("1"));
    driver.requests[0]!.answer({ status: no(code, "nobody knows"), entries: [] });
    await turns();
    expect(journal.lines).toEqual(["1 doubt"]);
    expect(journal.verdicts.get("1")).toMatchObject({ error: { mayArrive: true, message: /nobody knows/ } });
  });

  it("an entry with one, under an answer that says OK", async () => {
    const { driver, journal, send } = await sending();
    send(outgoing("1"));
    const entries = [{ status: no(54_321), messageId: "a", transactionId: "" }];
    driver.requests[0]!.answer({ status: { code: OK, text: "OK" }, entries });
    await turns();
    expect(journal.lines).toEqual(["1 doubt"]);
  });

  it.each([
    ["an error of no kind", new Error("odd")],
    ["what is no error at all", undefined],
  ])("%s", async (_, thrown) => {
    const { driver, journal, send } = await sending();
    send(outgoing("1"));
    driver.requests[0]!.fail(thrown);
    await turns();
    expect(journal.lines).toEqual(["1 doubt"]);
  });

  it("a request for messages that is answered so is made again, in the same session", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").answer({ status: no(54_321), messages: [] });
    await turns();
    await stage.driver.clock.advance(1_000);
    const polls = (): readonly Poll[] => stage.link.polls.filter(({ topic }) => topic === "orders");
    expect(polls()).toHaveLength(2);
    expect(stage.said).toEqual([expect.stringMatching(/^surfaced orders gives \w+ nothing: .*\(54321\)$/)]);
    // Once, until it is another reason, or was none.
    const answers = [no(54_321), no(50_001), no(40_401), no(50_001)];
    for (const [n, status] of answers.entries()) {
      polls()[1 + n]!.answer({ status, messages: [] });
      await turns();
      await stage.driver.clock.advance(1_000);
    }
    expect(stage.said.map((line) => line.slice(-7))).toEqual(["(54321)", "(50001)", "(50001)"]);
  });
});

describe("4 GiB frame header, random frame bytes: refused, connection closed, no crash", () => {
  it("of the admin protocol", () => {
    expect(() => new AnswerReader().take(new Uint8Array([0xff, 0xff, 0xff, 0xff]))).toThrow(/no RocketMQ/);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          new AnswerReader().take(bytes);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(Error);
        }
      }),
    );
  });

  it("a declaration that meets such a server fails with a typed error, and the connection is gone", async () => {
    const cluster = new FakeCluster();
    cluster.garbage = true;
    const { admin } = new FakeDriver().transport({}, cluster.cluster());
    const thrown: unknown = await admin.declare([ORDERS], SIGNAL).catch((error: unknown) => error);
    expect(TallyError.is(thrown)).toBe(true);
    expect(cluster.closed).toBeGreaterThan(0);
  });
});

describe("delivery after cancel: ignored", () => {
  it("what a request brings after the stop is nobody's, and is given back", async () => {
    const stage = await new Stage().open();
    await stage.receiver.stop();
    stage.link.poll("orders").bring(came("late"));
    await turns();
    expect(stage.ids).toEqual([]);
    expect(stage.link.changes).toEqual(["late 1"]);
    expect(stage.link.acks).toEqual([]);
  });

  it("and after the end, kept for the next session of the group, which gives it back", async () => {
    const stage = await new Stage().open();
    // In one tick: what the request brings is there when the session is over.
    stage.link.poll("orders").bring(came("late"));
    stage.link.events.lost(new Error("14 UNAVAILABLE"));
    await turns();
    expect([stage.ids, stage.link.acks]).toEqual([[], []]);
    const next = await new Stage(stage.driver, stage.transport).open();
    expect(next.link.changes).toEqual(["late 1"]);
  });
});

describe("expired receipt handle; partial receipts: comes again, deduped; only listed ids are confirmed", () => {
  it("an ack whose handle has expired is unsettled; its neighbours are settled", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(came("m0"), came("m1", { offset: 1 }), came("m2", { offset: 2 }));
    await turns();
    stage.link.refusedAcks.set("m1", no(40_013, "receipt handle is expired"));
    await stage.ack("m0", "m1", "m2");
    expect(stage.said).toEqual(["unsettled m1: topology"]);
  });

  it("a send's answer that names fewer messages than were sent confirms none of them", async () => {
    const { driver, journal, send } = await sending();
    send(outgoing("1"), outgoing("2"));
    driver.requests[0]!.answer({ status: no(OK), entries: [{ status: no(OK), messageId: "a", transactionId: "" }] });
    await turns();
    expect(journal.lines).toEqual(["1 doubt", "2 doubt"]);
    send(outgoing("3"));
    stored(driver.requests[1]!);
    await turns();
    expect(journal.lines.at(-1)).toBe("3 accepted");
  });
});

describe("gzip bomb, truncated gzip, wrong content-encoding, invalid UTF-8, JSON with `__proto__` (received): parsed safely; dead-lettered with the raw bytes kept", () => {
  it("what the checksum does not fit has a coding that nobody reads, and its bytes as they came", () => {
    const got = incoming("orders", came("1", { corrupted: true, body: Buffer.from("torn") }));
    expect(got).toMatchObject({ contentEncoding: "corrupted", body: Buffer.from("torn") });
  });

  it("what another client has compressed is core's to inflate, up to its bound", () => {
    expect(incoming("orders", came("1", { gzip: true, body: Buffer.from([0x1f, 0x8b]) }))).toMatchObject({
      contentEncoding: "gzip",
      body: Buffer.from([0x1f, 0x8b]),
    });
  });
});
