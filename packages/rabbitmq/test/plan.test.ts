import { describe, expect, it } from "vitest";
import { resolveRabbit } from "../src/options.ts";
import { Mapping } from "../src/plan.ts";
import { type Declare, readTopic, worksOf } from "../src/topics.ts";
import type { RabbitOptions } from "@tallymq/rabbitmq";
import type { TopicPlan } from "@tallymq/core/spi";

const ORDERS: TopicPlan = { name: "orders", ordered: false, groups: ["billing"] };

function mapping(options: Partial<RabbitOptions> = {}): Mapping {
  return new Mapping(resolveRabbit({ urls: ["amqp://h"], ...options }));
}

const QUORUM = {
  "x-queue-type": "quorum",
  "x-delivery-limit": 200,
  "x-dead-letter-exchange": "",
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
};
const OURS = { ...QUORUM, "x-dead-letter-routing-key": "orders.billing.dead-letters.dead-letters" };

describe("queues, from options alone", () => {
  const table: readonly (readonly [
    string,
    Partial<RabbitOptions>,
    Partial<TopicPlan>,
    string | null,
    { name: string; arguments: object; dead: string | null },
  ])[] = [
    [
      "a group's: quorum, with dead letters at least once",
      {},
      {},
      "billing",
      { name: "orders.billing", arguments: OURS, dead: "orders.billing.dead-letters.dead-letters" },
    ],
    [
      "of an ordered topic: a single active consumer",
      {},
      { ordered: true },
      "billing",
      {
        name: "orders.billing",
        arguments: { ...OURS, "x-single-active-consumer": true },
        dead: "orders.billing.dead-letters.dead-letters",
      },
    ],
    [
      "of dead letters: no limit to speak of",
      {},
      {},
      "dead-letters",
      {
        name: "orders.dead-letters",
        arguments: { "x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000 },
        dead: null,
      },
    ],
    [
      "classic, by the option",
      { queueType: "classic" },
      { ordered: true },
      "billing",
      {
        name: "orders.billing",
        arguments: { "x-queue-type": "classic", "x-single-active-consumer": true },
        dead: null,
      },
    ],
    [
      "classic, by an argument of the topic: with nothing that only quorum queues know",
      { topics: { orders: { queueArguments: { "x-queue-type": "classic", "x-max-priority": 3 } } } },
      {},
      "billing",
      { name: "orders.billing", arguments: { "x-queue-type": "classic", "x-max-priority": 3 }, dead: null },
    ],
    [
      "arguments of the topic go before ours",
      { topics: { orders: { queueArguments: { "x-delivery-limit": 50, "x-quorum-initial-group-size": 3 } } } },
      {},
      "billing",
      {
        name: "orders.billing",
        arguments: { ...OURS, "x-delivery-limit": 50, "x-quorum-initial-group-size": 3 },
        dead: "orders.billing.dead-letters.dead-letters",
      },
    ],
    [
      "dead letters to somewhere else: that is somebody else's to make",
      {
        topics: {
          orders: { queueArguments: { "x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "bills" } },
        },
      },
      {},
      "billing",
      {
        name: "orders.billing",
        arguments: { ...QUORUM, "x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "bills" },
        dead: null,
      },
    ],
    [
      "another name for it, and for its dead letters",
      {
        topics: {
          orders: { queues: { billing: "bills" } },
          "orders.billing.dead-letters": { queues: { "dead-letters": "bad-bills" } },
        },
      },
      {},
      "billing",
      { name: "bills", arguments: { ...OURS, "x-dead-letter-routing-key": "bad-bills" }, dead: "bad-bills" },
    ],
    [
      "one for all groups",
      { topics: { orders: { queue: "all" } } },
      {},
      null,
      { name: "all", arguments: { ...QUORUM, "x-dead-letter-routing-key": "all.dead" }, dead: "all.dead" },
    ],
  ];
  it.each(table)("%s", (_name, options, plan, group, expected) => {
    const queue = mapping(options).queue({ ...ORDERS, ...plan }, group);
    expect({ ...queue, dead: queue.dead?.queue.name ?? null }).toEqual(expected);
  });
});

describe("exchanges and bindings, from options alone", () => {
  const table: readonly (readonly [string, object, object | null, readonly object[]])[] = [
    ["nothing said: a fanout of the topic's name", {}, ["orders", "fanout", {}], [["", {}]]],
    [
      "direct: bound by the key that is published with",
      { exchangeType: "direct", routingKey: "new" },
      ["orders", "direct", {}],
      [["new", {}]],
    ],
    [
      "topic: bound to all of it",
      { exchange: "shop", exchangeType: "topic", routingKey: "orders.new" },
      ["shop", "topic", {}],
      [["#", {}]],
    ],
    [
      "several bindings of one group",
      { exchangeType: "topic", bindings: { billing: [{ routingKey: "*.paid" }, { routingKey: "*.refunded" }] } },
      ["orders", "topic", {}],
      [
        ["*.paid", {}],
        ["*.refunded", {}],
      ],
    ],
    [
      "headers: the headers stand in the binding's arguments",
      { exchangeType: "headers", bindings: { billing: [{ arguments: { "x-match": "any", kind: "invoice" } }] } },
      ["orders", "headers", {}],
      [["", { "x-match": "any", kind: "invoice" }]],
    ],
    [
      "x-consistent-hash: by weight, and by a header where an argument says so",
      { exchangeType: "x-consistent-hash", exchangeArguments: { "hash-header": "tally-key" } },
      ["orders", "x-consistent-hash", { "hash-header": "tally-key" }],
      [["1", {}]],
    ],
    ["the default exchange: one queue, no bindings", { queue: "all" }, null, []],
  ];
  it.each(table)("%s", (_name, orders, exchange, bindings) => {
    const map = mapping({ topics: { orders } });
    const plan = map.exchange("orders");
    expect(plan === null ? null : [plan.name, plan.type, plan.arguments]).toEqual(exchange);
    expect(map.bindings("orders", "billing").map((b) => [b.routingKey, b.arguments])).toEqual(bindings);
  });
});

describe("what is made by whom", () => {
  // exchange, groups' queues when publishing, the own queue when consuming, bindings
  const table: readonly (readonly [Declare, string])[] = [
    [true, "make make make make"],
    ["exchange", "make leave look leave"],
    ["queues", "look leave make make"],
    ["bindings", "look leave look make"],
    ["passive", "compare compare compare leave"],
    [false, "look look look leave"],
  ];
  it.each(table)("declare: %j", (declare, expected) => {
    const { exchange, groups, own, bindings } = worksOf(readTopic("topic", {}, declare));
    expect(`${exchange} ${groups} ${own} ${bindings}`).toBe(expected);
  });

  it("a topic's own word goes before that of all", () => {
    const map = mapping({ declare: "passive", topics: { orders: { declare: true } } });
    expect([map.at("orders").declare, map.at("others").declare]).toEqual([true, "passive"]);
  });
});
