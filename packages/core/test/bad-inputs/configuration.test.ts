// Wrong options, the rows of one table: refused where they are written, before a broker or a store is opened.
import { memory, memoryInbox, memoryOutbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { release, retry } from "../../src/consume/rulings.ts";
import { openTally, type Tally, TallyError, type TallyOptions, topic } from "../../src/index.ts";
import type { Broker } from "../../src/spi.ts";
import type { Duration } from "../../src/duration.ts";
import { world } from "../support/guarded.ts";
import { bench } from "../support/receiving.ts";
import { CANARY, refused, thrownBy } from "../support/refused.ts";

/** What `openTally` rejects with; neither broker nor stores were opened. */
async function atStart(options: object): Promise<string> {
  let opened = 0;
  const count = <T>(value: T): T => (opened++, value);
  const broker: Broker = { ...memory(), open: (host) => count(memory().open(host)) };
  const outbox = { openOutbox: (host: never) => count(memoryOutbox().openOutbox(host)) };
  const inbox = { openInbox: (host: never) => count(memoryInbox().openInbox(host)) };
  const error = await thrownBy(() => openTally({ service: "shop", broker, outbox, inbox, ...options } as TallyOptions));
  expect([error.code, error.mayArrive, opened]).toEqual(["bad-config", false, 0]);
  return error.message;
}

/** What building a consumer throws. */
async function atConsumer(options: object): Promise<string> {
  const error = await thrownBy(() => bench().consumer(options));
  expect(error.code).toBe("bad-config");
  return error.message;
}

async function atPublish(options: object): Promise<string> {
  const error = await refused(1, options);
  expect(error.code).toBe("bad-config");
  return error.message;
}

async function atClose(options: object): Promise<string> {
  await using tally = await openTally({ service: "shop", broker: memory() });
  const error = await thrownBy(() => tally.close(options as never));
  expect(error.code).toBe("bad-config");
  // Nothing was closed for it.
  await tally.publish(topic("orders", { groups: ["billing"] }), 1);
  return error.message;
}

/** The same for what is called on a tally with outbox and inbox. */
async function withTally(call: (tally: Tally) => unknown): Promise<string> {
  await using tally = await openTally({
    service: "shop",
    broker: memory(),
    inbox: memoryInbox(),
    outbox: memoryOutbox(),
  });
  return await atCall(() => call(tally));
}

const KEY = { group: "billing", topic: "orders", key: "ada" };
const LETTERS = topic("orders");
const HALF = { topic: LETTERS, check: () => "unknown" as const };
const never = (): never => expect.fail("no work is done for a call that is refused");

/** The same for what is called in `onError`, and for a topic. */
async function atCall(call: () => unknown): Promise<string> {
  const error = await thrownBy(call);
  expect(error.code).toBe("bad-config");
  return error.message;
}

describe("no brokers, `brokers: []`; broker without a port; `http://` or malformed URL: rejected at construction, credentials redacted", () => {
  const url = `http://user:${CANARY}@host`;
  it.each([
    ["none", { broker: undefined }, "broker must be given"],
    ["brokers: []", { brokers: [] }, '"brokers"; did you mean "broker"?'],
    ["a list in place of a broker", { broker: [] }, "broker must be a broker: rabbitmq({…}), memory() …; got an array"],
    ["a URL in place of a broker", { broker: url }, `broker must be a broker: rabbitmq({…}), memory() …; got a string`],
    ["null", { broker: null }, "got null"],
  ])("%s", async (_what, options, says) => {
    expect(await atStart(options)).toContain(says);
  });

  it.each([`127.0.0.1`, "127.0.0.1:0", "127.0.0.1:65536", `http://user:${CANARY}@127.0.0.1:80`, "", "unix:"])(
    "an embedded broker's address: %s",
    async (at) => {
      expect(await atCall(() => memory({ at }))).toContain("memory: at");
    },
  );
});

describe("what is no topic: rejected at the call", () => {
  const calls: readonly (readonly [string, (given: never) => Promise<string>])[] = [
    ["openTally: topics", (given) => atStart({ topics: [given] })],
    ["publish", (given) => withTally((t) => t.publish(given, 1 as never))],
    ["publish", (given) => withTally(async (t) => throwFirst(await t.publishMany(given, [{ body: 1 as never }])))],
    ['consumer "billing"', (given) => withTally((t) => t.consumer("billing").on(given, () => {}))],
    ["deadLetters", (given) => withTally((t) => t.deadLetters(given, "billing"))],
    ['half "payment"', (given) => withTally((t) => t.half("payment", { ...HALF, topic: given }))],
    [
      "parked.keys.messages: decode",
      (given) => withTally((t) => t.parked.keys.messages({ ...KEY, decode: given ?? "orders" })),
    ],
  ];
  const throwFirst = ([first]: readonly unknown[]): never => {
    throw first;
  };
  it.each(calls)("%s", async (where, call) => {
    for (const given of ["orders", { name: "orders" }, { name: "orders", codec: {} }, null, [LETTERS]])
      expect(await call(given as never)).toMatch(
        new RegExp(`^\\[bad-config\\] ${where}.* topics?, .*made by topic\\(\\)`),
      );
  });

  it("a copy of one is one", async () => {
    await using tally = await openTally({ service: "shop", broker: memory() });
    await tally.publish({ ...topic("orders", { groups: ["billing"] }) }, 1);
  });
});

describe("what a person says of half messages, of another type: rejected before a store is asked", () => {
  it.each<[string, unknown, string]>([
    ["undecided: 0", 0, "undecided: most must be a whole number from 1 to 1000000; got 0"],
    ["undecided: a text", "all", 'undecided: most must be a whole number from 1 to 1000000; got "all"'],
    ["undecided: a function", () => 1, "undecided: most must be a whole number from 1 to 1000000; got a function"],
  ])("%s", async (_what, most, says) => {
    expect(await withTally((t) => t.half("payment", HALF).undecided(most as never))).toContain(says);
  });

  it.each<[string, unknown, string]>([
    ["nothing", undefined, "decide: id must be a string of 1 to 255 bytes; got undefined"],
    ["a number", 7, "decide: id must be a string of 1 to 255 bytes; got 7"],
    ["a function", () => "o-1", "decide: id must be a string of 1 to 255 bytes; got a function"],
  ])("decide: %s", async (_what, id, says) => {
    expect(await withTally((t) => t.half("payment", HALF).decide(id as never, "commit"))).toContain(says);
  });
});

describe("options of publish() that are of another type: rejected, not passed over", () => {
  it.each<[string, unknown, string, string?]>([
    ["null", null, "publish must be an object of options; got null"],
    ["a list", [], "publish must be an object of options; got an array of 0"],
    ["signal", { signal: {} }, "publish: signal must be an AbortSignal; got an object"],
    ["cause: an error", { cause: new Error(CANARY) }, "publish: cause must be what a handler's context has"],
    ["cause: an id", { cause: "o-1" }, "publish: cause must be what a handler's context has"],
    ["native: a text", { native: "x" }, 'publish: native must be an object of raw properties; got "x"'],
    ["headers: a list", { headers: ["a"] }, "must be an object of names and texts; got a list or map", "bad-message"],
    ["headers: a Map", { headers: new Map([["a", "b"]]) }, "names and texts; got a list or map", "bad-message"],
    ["headers: Headers", { headers: new Headers({ a: "b" }) }, "names and texts; got a list or map", "bad-message"],
    ["headers: a text", { headers: CANARY }, "names and texts; got string", "bad-message"],
  ])("%s", async (_what, options, says, code = "bad-config") => {
    const error = await refused(1, options as never);
    expect(error).toMatchObject({ code, mayArrive: false });
    expect(error.message).toContain(says);
  });

  it("publishMany: what is no list", async () => {
    for (const given of [{ body: 1 }, new Set([{ body: 1 }])])
      expect(await withTally((t) => t.publishMany(LETTERS, given as never))).toBe(
        "[bad-config] publishMany: entries must be a list; got an object",
      );
  });
});

describe("outbox path missing, read-only, a symbolic link elsewhere: fail at start", () => {
  it("a store that cannot be opened is what openTally rejects with; the other store is closed, no broker opened", async () => {
    const error = new TallyError("store", "/nowhere/outbox.db is read-only");
    for (const which of ["outbox", "inbox", "broker"] as const) {
      const seen: string[] = [];
      const closing = <T extends object>(store: T, name: string): T =>
        Object.assign(store, { [Symbol.asyncDispose]: async () => void seen.push(`${name} closed`) });
      const fail = (): never => {
        throw error;
      };
      const opening = openTally({
        service: "shop",
        broker: {
          ...memory(),
          open: (host) => (which === "broker" ? fail() : (seen.push("opened"), memory().open(host))),
        },
        inbox: {
          openInbox: async (host: never) =>
            which === "inbox" ? fail() : closing(await memoryInbox().openInbox(host), "inbox"),
        },
        outbox: {
          openOutbox: async (host: never) =>
            which === "outbox" ? fail() : closing(await memoryOutbox().openOutbox(host), "outbox"),
        },
      });
      await expect(opening).rejects.toBe(error);
      expect(seen).toEqual({ inbox: [], outbox: ["inbox closed"], broker: ["inbox closed", "outbox closed"] }[which]);
    }
  });
});

describe("unknown option key: rejected, with the nearest known key", () => {
  it.each<[string, (options: object) => Promise<string>, object, string]>([
    ["openTally", atStart, { sevice: "shop" }, "service"],
    ["openTally: publish", (publish) => atStart({ publish }), { windw: 5 }, "window"],
    ["openTally: spill", (spill) => atStart({ spill }), { relayWindows: 5 }, "relayWindow"],
    ["openTally: reconnect", (reconnect) => atStart({ reconnect }), { maxi: 5 }, "max"],
    ["topic", (o) => atCall(() => topic("orders", o)), { order: true }, "ordered"],
    ["consumer", atConsumer, { atempts: 5 }, "attempts"],
    ["publish", atPublish, { deadlin: "5s" }, "deadline"],
    ["close", atClose, { whithin: "1s" }, "within"],
    ["retry", (o) => atCall(() => retry(o)), { aftr: 5 }, "after"],
    ["release", (o) => atCall(() => release(o)), { delay: 5 }, "after"],
    ["memory", (o) => atCall(() => memory(o)), { nam: "x" }, "name"],
    ["openTally: health", (health) => atStart({ health }), { stuckafter: "1s" }, "stuckAfter"],
    ["half", (o) => withTally((t) => t.half("payment", { ...HALF, ...o })), { maxAges: "1h" }, "maxAge"],
    ["publish", (o) => withTally((t) => t.half("payment", HALF).run(1, never, o)), { deadlin: "1s" }, "deadline"],
    ["openTally: memory", (o) => atStart({ memory: o }), { maximum: 5 }, "max"],
    ["parked.keys.list", (o) => withTally((t) => t.parked.keys.list(o)), { groups: "g" }, "group"],
    ["parked.keys.messages", (o) => withTally((t) => t.parked.keys.messages({ ...KEY, ...o })), { mosd: 5 }, "most"],
    ["parked.keys.replay", (o) => withTally((t) => t.parked.keys.replay({ ...KEY, ...o })), { grup: "g" }, "group"],
    // It would purge the whole key otherwise.
    ["parked.keys.purge", (o) => withTally((t) => t.parked.keys.purge({ ...KEY, ...o })), { plase: 5 }, "place"],
    ["parked.rows.list", (o) => withTally((t) => t.parked.rows.list(o)), { mots: 5 }, "most"],
    ["deadLetters", (o) => withTally((t) => t.deadLetters(LETTERS, "billing").list(o)), { mots: 5 }, "most"],
    ["deadLetters", (o) => withTally((t) => t.deadLetters(LETTERS, "billing").replay(o)), { dryrun: true }, "dryRun"],
    // It would purge them all otherwise.
    [
      "deadLetters",
      (o) => withTally((t) => t.deadLetters(LETTERS, "billing").purge(o)),
      { when: () => false },
      "where",
    ],
  ])("of %s", async (where, call, options, nearest) => {
    const [key] = Object.keys(options);
    const message = await call(options);
    expect(message).toContain(`[bad-config] ${where}`);
    expect(message).toContain(`has no option "${key}"; did you mean "${nearest}"?`);
  });

  it("one of any length is refused in a short text, and soon", async () => {
    expect((await atStart({ ["x".repeat(1_000_000)]: 1 })).length).toBeLessThan(300);
    expect((await atPublish({ ["x".repeat(1_000_000)]: 1 })).length).toBeLessThan(300);
  });
});

describe('timeout 0, −1, NaN, "5 parsecs", 2³¹: rejected', () => {
  const timeouts: readonly (readonly [string, (given: unknown) => Promise<string>])[] = [
    ["connectWithin", (connectWithin) => atStart({ connectWithin })],
    ["confirmTimeout", (confirmTimeout) => atStart({ publish: { confirmTimeout } })],
    ["deadline", (deadline) => atStart({ publish: { deadline } })],
    ["resendMin", (resendMin) => atStart({ publish: { resendMin } })],
    ["resendMax", (resendMax) => atStart({ publish: { resendMax } })],
    ["after", (after) => atStart({ spill: { after } })],
    ["min", (min) => atStart({ reconnect: { min } })],
    ["max", (max) => atStart({ reconnect: { max } })],
    ["processingDeadline", (processingDeadline) => atConsumer({ processingDeadline })],
    ["retryMin", (retryMin) => atConsumer({ retryMin })],
    ["retryMax", (retryMax) => atConsumer({ retryMax })],
    ["lease", (lease) => atConsumer({ lease })],
    ["breakerMin", (breakerMin) => atStart({ publish: { breakerMin } })],
    ["breakerMax", (breakerMax) => atStart({ publish: { breakerMax } })],
    ["unreachableAfter", (unreachableAfter) => atStart({ health: { unreachableAfter } })],
    ["growingFor", (growingFor) => atStart({ health: { growingFor } })],
    ["lease", (lease) => withTally((t) => t.half("payment", { ...HALF, lease } as never))],
    ["checkMin", (checkMin) => withTally((t) => t.half("payment", { ...HALF, checkMin } as never))],
    ["checkMax", (checkMax) => withTally((t) => t.half("payment", { ...HALF, checkMax } as never))],
    ["maxAge", (maxAge) => withTally((t) => t.half("payment", { ...HALF, maxAge } as never))],
    ["deadline", (deadline) => withTally((t) => t.half("payment", HALF).run(1, never, { deadline } as never))],
    ["answerWithin", (answerWithin) => atStart({ health: { answerWithin } })],
    ["deadline", (deadline) => atPublish({ deadline })],
    ["within", (within) => atClose({ within })],
  ];
  const wrong: readonly (readonly [unknown, string])[] = [
    [0, "got 0"],
    [-1, "got -1"],
    [Number.NaN, "got NaN"],
    ["5 parsecs", 'got "5 parsecs"'],
    [2 ** 31, "got 2147483648"],
    [Number.POSITIVE_INFINITY, "got Infinity"],
  ];
  it.each(timeouts)("%s", async (name, call) => {
    for (const [given, got] of wrong) {
      const message = await call(given);
      expect(message).toMatch(new RegExp(`${name} must be a duration from \\d+ ms to \\d+ ms`));
      expect(message).toContain(got);
    }
  });

  it("publish: delay, whose longest is the broker's own", async () => {
    for (const [delay, got] of wrong.slice(1).filter(([given]) => given !== 2 ** 31))
      expect(await withTally((t) => t.publish(LETTERS, 1, { delay } as never))).toContain(got);
    await using tally = await openTally({ service: "shop", broker: memory() });
    const orders = topic("orders", { groups: ["billing"] });
    const error = await thrownBy(() => tally.publish(orders, 1, { delay: 2 ** 31 }));
    expect(error).toMatchObject({ code: "unsupported", mayArrive: false });
    expect(error.message).toMatch(/delays by \d+ ms at most; got 2147483648 ms/);
  });

  // 0 is at once there; what cannot be waited for is refused all the same.
  it.each<[string, (o: never) => unknown]>([
    ["retry", retry],
    ["release", release],
  ])("%s: after", async (_name, ruling) => {
    for (const [after, got] of wrong.slice(1)) expect(await atCall(() => ruling({ after } as never))).toContain(got);
  });
});

describe("window or prefetch 0 or 1e9; retries Infinity without a cap on the delay: rejected", () => {
  it.each<[string, (given: unknown) => Promise<string>]>([
    ["window", (window) => atStart({ publish: { window } })],
    ["relayWindow", (relayWindow) => atStart({ spill: { relayWindow } })],
    ["credit", (credit) => atConsumer({ credit })],
    ["lanes", (lanes) => atConsumer({ lanes })],
  ])("%s", async (name, call) => {
    for (const given of [0, 1e9, -1, 1.5, Number.NaN]) {
      const message = await call(given);
      expect(message).toMatch(new RegExp(`${name} must be a whole number from \\d+ to \\d+; got ${given}$`));
    }
  });

  it("retries without an end, and delays without a cap, are refused each by itself", async () => {
    for (const given of [Number.POSITIVE_INFINITY, 0]) {
      expect(await atConsumer({ attempts: given })).toContain("attempts must be a whole number from 1 to 1000");
      expect(await atConsumer({ maxAttempts: given })).toContain("maxAttempts must be a whole number");
      expect(await atConsumer({ retryMax: given })).toContain("retryMax must be a duration");
      expect(await atStart({ publish: { resendMax: given } })).toContain("resendMax must be a duration");
      expect(await atStart({ reconnect: { max: given } })).toContain("max must be a duration");
    }
  });

  it.each<[string, (given: object) => Promise<string>, string, string]>([
    ['consumer "billing"', atConsumer, "retryMin", "retryMax"],
    ["openTally: publish", (publish) => atStart({ publish }), "resendMin", "resendMax"],
    ["openTally: publish", (publish) => atStart({ publish }), "breakerMin", "breakerMax"],
    ["openTally: reconnect", (reconnect) => atStart({ reconnect }), "min", "max"],
    ['half "payment"', (o) => withTally((t) => t.half("payment", { ...HALF, ...o })), "checkMin", "checkMax"],
  ])("%s: a wait whose lower end is above its upper end", async (where, call, min, max) => {
    expect(await call({ [min]: "10s", [max]: "1s" })).toBe(
      `[bad-config] ${where}: ${min} (10000 ms) must not exceed ${max} (1000 ms)`,
    );
  });
});

describe("names: too long, with NUL, of no length: rejected, with what was expected and what came", () => {
  it.each<[string, string, string]>([
    ["with NUL", "a\0b", "must be a string of 1 to 120 bytes without NUL"],
    ["too long", "é".repeat(61), "must be a string of 1 to 120 bytes; got 122"],
    ["empty", "", 'must be a string of 1 to 120 bytes; got ""'],
  ])("%s", async (_what, name, says) => {
    expect(await atStart({ service: name })).toBe(`[bad-config] openTally: service ${says}`);
    expect(await withTally((t) => t.consumer(name))).toBe(`[bad-config] consumer: group ${says}`);
    // What no consumer can be called, no topic can have as a group.
    expect(await atCall(() => topic("orders", { groups: [name] }))).toContain(
      "groups must be a list of group names, each of 1 to 120 bytes; got an array of 1",
    );
  });
});

it("one end of a wait alone is no contradiction, whatever the other's default", async () => {
  const publish = { resendMax: 1, breakerMax: 1 };
  await using _ = await openTally({ service: "shop", broker: memory(), publish, reconnect: { max: 1 } });
});

describe("configuration with `__proto__`: rejected", () => {
  const hostile = (): object => JSON.parse('{"__proto__":{"polluted":true}}') as object;
  it.each<[string, (options: object) => Promise<string>]>([
    ["openTally", atStart],
    ["openTally: publish", (publish) => atStart({ publish })],
    ["openTally: spill", (spill) => atStart({ spill })],
    ["openTally: reconnect", (reconnect) => atStart({ reconnect })],
    ["topic", (o) => atCall(() => topic("orders", o))],
    ["consumer", atConsumer],
    ["publish", atPublish],
    ["close", atClose],
    ["retry", (o) => atCall(() => retry(o))],
  ])("of %s", async (_where, call) => {
    expect(await call(hostile())).toContain('has no option "__proto__"');
    expect(({} as Record<string, unknown>)["polluted"]).toBe(undefined);
  });

  it("options by inheritance are no options", async () => {
    expect(await atCall(() => topic("orders", Object.create({ ordered: true })))).toContain(
      "a plain object of options",
    );
    expect(await atConsumer(Object.create({ lanes: 5 }))).toContain("a plain object of options");
  });
});

describe("dedupe TTL shorter than the longest possible redelivery: rejected, with the sum shown", () => {
  const day = 86_400_000;
  const consumer = async (keepFor: number, options: object = {}, dedupeFor: Duration = "7d"): Promise<unknown> => {
    const w = world(memoryInbox({ keepFor }));
    const a = await w.process();
    return a.consumer(options).on(topic("orders", { dedupeFor }), () => {});
  };

  it("by default that is 7 days of the publisher's and an hour of the consumer's", async () => {
    const sum = 7 * day + 16 * (15_000 + 3 * (60_000 + 10_000));
    expect(sum).toBe(7 * day + 3_600_000);
    await consumer(sum);
    const message = await atCall(() => consumer(sum - 1));
    expect(message).toContain(
      'consumer "billing": the inbox must keep the ids of topic "orders" for at least 608400000 ms',
    );
    expect(message).toContain("keeps them for 608399999 ms");
    expect(message).toContain(
      "dedupeFor 604800000 + maxAttempts 16 × (lease 15000 + attempts 3 × (processingDeadline 60000 + retryMax 10000))",
    );
  });

  it("each of its parts counts; without an inbox nothing is asked", async () => {
    const sum = 60_000 + 2 * (2_000 + 4 * (3_000 + 1_000));
    const options = { maxAttempts: 2, lease: "2s", attempts: 4, processingDeadline: "3s", retryMax: "1s" };
    await consumer(sum, options, "1m");
    for (const more of [
      { maxAttempts: 3 },
      { lease: 2_001 },
      { attempts: 5 },
      { processingDeadline: 3_001 },
      { retryMax: 1_001 },
    ])
      expect(await atCall(() => consumer(sum, { ...options, ...more }, "1m"))).toContain("the inbox must keep the ids");
    expect(await atCall(() => consumer(sum, options, 60_001))).toContain("the inbox must keep the ids");
    await consumer(1, { effect: "none" });
  });
});
