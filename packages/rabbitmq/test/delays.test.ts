import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TopicPlan } from "@tallymq/core/spi";
import { entrance, levels, LONGEST_DELAY, STEP_MS } from "../src/delays.ts";
import { message, ORDERS, type Sending, signal, Stage } from "./stage.ts";

const HOUR = 3_600_000;

/** Walks the ladder as the broker would, by its bindings: which queues a message stands in, and for how long in all. */
function walk(delayMs: number): { readonly steps: readonly number[]; readonly sum: number } {
  const { exchange, routingKey } = entrance(delayMs);
  const bits = routingKey.split(".");
  const steps: number[] = [];
  for (let level = Math.log2(Number(exchange.replace("tally.delay.", "")) / STEP_MS); level >= 0; level--)
    if (bits[level] === "1") steps.push(STEP_MS * 2 ** level);
  return { steps, sum: steps.reduce((a, b) => a + b, 0) };
}

async function delaying(upToMs = HOUR, plan: TopicPlan = ORDERS, ...given: Parameters<typeof Stage.open>) {
  const stage = await Stage.open(...given);
  const sending = await stage.sender(plan);
  await stage.transport.admin.declareDelays(plan, upToMs, signal());
  return { stage, sending, [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose]() };
}

async function posted(sending: Sending, ...batch: Parameters<typeof message>[]): Promise<void> {
  sending.post(batch.map((given) => message(...given)));
  await sending.until("all verdicts", () => batch.every(([seq]) => sending.verdict(`m${seq}`) !== undefined));
}

describe("the ladder", () => {
  it("any delay is a sum of its steps, never too short, by less than one step too long, each step once and downwards", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: LONGEST_DELAY }), (delayMs) => {
        const { steps, sum } = walk(delayMs);
        expect(sum).toBeGreaterThanOrEqual(delayMs);
        expect(sum - delayMs).toBeLessThan(STEP_MS);
        expect(steps).toEqual([...new Set(steps)].toSorted((a, b) => b - a));
        expect(steps[0]).toBe(STEP_MS * 2 ** (levels(delayMs) - 1));
      }),
    );
  });

  it("a message enters at its highest step, and its key says the rest, lowest first", () => {
    expect(entrance(1)).toEqual({ exchange: "tally.delay.64", routingKey: "1" });
    expect(entrance(64)).toEqual({ exchange: "tally.delay.64", routingKey: "1" });
    expect(entrance(65)).toEqual({ exchange: "tally.delay.128", routingKey: "0.1" });
    expect(entrance(320)).toEqual({ exchange: "tally.delay.256", routingKey: "1.0.1" });
  });

  it("the longest delay fits the broker's timers and a routing key", () => {
    const { exchange, routingKey } = entrance(LONGEST_DELAY);
    expect(Number(exchange.replace("tally.delay.", ""))).toBeLessThan(2 ** 32);
    expect(routingKey.length).toBeLessThan(255);
  });

  it("rule 17: each queue of the ladder has one TTL and dead-letters at least once to the step below, the lowest one to where it is due", async () => {
    await using d = await delaying(200);
    const declared = d.stage.server.methods("queue.declare").map(({ args }) => args);
    const args = (name: string): unknown => declared.find(({ queue }) => queue === name)?.["arguments"];
    const step = (ttl: number, below: string): object => ({
      "x-queue-type": "quorum",
      "x-message-ttl": ttl,
      "x-dead-letter-exchange": below,
      "x-dead-letter-strategy": "at-least-once",
      "x-overflow": "reject-publish",
      "x-delivery-limit": 1_000_000_000,
    });
    expect(args("tally.delay.64")).toEqual(step(64, "tally.delay.due"));
    expect(args("tally.delay.128")).toEqual(step(128, "tally.delay.64"));
    expect(args("tally.delay.256")).toEqual(step(256, "tally.delay.128"));
    expect(args("tally.delay.512")).toBeUndefined();
    const exchanges = d.stage.server.methods("exchange.declare").map(({ args: of }) => [of["exchange"], of["type"]]);
    expect(exchanges).toContainEqual(["tally.delay.due", "headers"]);
    expect(exchanges).toContainEqual(["tally.delay.256", "topic"]);
  });
});

describe("a delayed copy", () => {
  it("says where it goes when its time has come, in a header that the ladder's end is bound by", async () => {
    await using d = await delaying();
    await posted(d.sending, [1, { group: "billing", delayMs: 320 }], [2, { delayMs: 1 }], [3]);
    expect(
      d.stage.server.publishes.map(({ exchange, routingKey, headers, mandatory }) => [
        exchange,
        routingKey,
        headers["tally-delay-to"],
        mandatory,
      ]),
    ).toEqual([
      ["tally.delay.256", "1.0.1", "queue orders.billing", true],
      ["tally.delay.64", "1", "exchange orders", true],
      ["orders", "", undefined, true],
    ]);
    const bound = (name: "queue.bind" | "exchange.bind"): unknown[] =>
      d.stage.server.methods(name).map(({ args }) => args["arguments"]);
    expect(bound("queue.bind")).toContainEqual({ "x-match": "all", "tally-delay-to": "queue orders.billing" });
    expect(bound("exchange.bind")).toContainEqual({ "x-match": "all", "tally-delay-to": "exchange orders" });
    expect(d.sending.verdict("m1")).toMatchObject({ proof: { persisted: "yes" } });
  });

  it("that was not declared, or for a shorter time only, never leaves", async () => {
    await using d = await delaying(500);
    await posted(d.sending, [1, { group: "billing", delayMs: 1_000 }], [2, { group: "mail", delayMs: 100 }]);
    expect(d.sending.kinds).toEqual({ m1: "unsent", m2: "unsent" });
    expect(d.sending.error("m1").code).toBe("topology");
    expect(d.stage.server.publishes).toEqual([]);
  });

  it("nacked, it is stored nowhere: one queue takes it", async () => {
    await using d = await delaying(500, ORDERS, { onPublish: ({ tag }, channel) => channel.nack(tag) });
    await posted(d.sending, [1, { delayMs: 100 }]);
    expect(d.sending.error("m1")).toMatchObject({ code: "later", mayArrive: false });
  });

  it("returned, it is unroutable, found by the step that it was sent to", async () => {
    await using d = await delaying(500, ORDERS, {
      onPublish(publish, channel) {
        if (publish.exchange === "tally.delay.128") channel.return(publish);
        channel.ack(publish.tag);
      },
    });
    await posted(d.sending, [1, { delayMs: 100 }], [2, { delayMs: 60 }]);
    expect(d.sending.kinds).toEqual({ m1: "unroutable", m2: "accepted" });
  });

  it("takes no raw routing and no expiration: it would never come, or come early", async () => {
    await using d = await delaying();
    const raws = [{ routingKey: "eu" }, { exchange: "orders" }, { expiration: 10 }];
    await posted(d.sending, ...raws.map((native, i): Parameters<typeof message> => [i + 1, { native, delayMs: 100 }]));
    expect(d.sending.kinds).toEqual({ m1: "refused", m2: "refused", m3: "refused" });
    expect(d.sending.error("m3")).toMatchObject({ code: "bad-message" });
    await posted(d.sending, [4, { native: { priority: 2 }, delayMs: 100 }]);
    expect(d.sending.kinds["m4"]).toBe("accepted");
  });

  it("for all groups needs a fanout: another exchange would look at the ladder's routing keys", async () => {
    const topics = { orders: { exchangeType: "topic", routingKey: "orders.new" } } as const;
    await using d = await delaying(HOUR, ORDERS, {}, { topics });
    await posted(d.sending, [1, { delayMs: 100 }], [2, { delayMs: 100, group: "billing" }]);
    expect(d.sending.kinds).toEqual({ m1: "refused", m2: "accepted" });
    expect(d.sending.error("m1").code).toBe("unsupported");
  });
});

describe("what arrives after a delay", () => {
  const death = {
    "x-death": [{ queue: "tally.delay.64", reason: "expired" }],
    "x-first-death-queue": "tally.delay.64",
  };

  async function headersOf(headers: Record<string, unknown>): Promise<Record<string, string>> {
    await using stage = await Stage.open({
      onConsume: ({ tag }, channel) => void channel.deliver({ consumerTag: tag, properties: { headers } as never }),
    });
    const receiving = await stage.receiver();
    const [one] = await receiving.first(1);
    return { ...one!.message.headers };
  }

  it("has the sender's headers, and none of the broker's account of its hops", async () => {
    expect(
      await headersOf({ ...death, "x-last-death-reason": "expired", "tally-delay-to": "queue q", tenant: "acme" }),
    ).toEqual({ tenant: "acme" });
  });

  it("where a message died otherwise is still told", async () => {
    expect(Object.keys(await headersOf({ ...death, tenant: "acme" }))).toEqual([
      "x-death",
      "x-first-death-queue",
      "tenant",
    ]);
  });
});

it("longestDelay is the trait; 0 turns delays off, and more than the broker's timers carry is refused", async () => {
  const trait = async (longestDelay?: "0ms" | "25d" | "1h"): Promise<number> => {
    await using stage = await Stage.open({}, longestDelay === undefined ? {} : { longestDelay });
    return stage.transport.traits.longestDelay;
  };
  expect([await trait(), await trait("1h"), await trait("0ms")]).toEqual([7 * 24 * HOUR, HOUR, 0]);
  await expect(trait("25d")).rejects.toMatchObject({ code: "bad-config" });
});
