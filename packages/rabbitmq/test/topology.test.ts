import { describe, expect, it } from "vitest";
import type { TopicPlan } from "@tallymq/core/spi";
import { message, ORDERS, signal, Stage } from "./stage.ts";

interface Declared {
  readonly name: string;
  readonly passive: boolean;
  readonly durable: boolean;
  readonly args: Record<string, unknown>;
}

function declared(stage: Stage, what: "queue" | "exchange"): Declared[] {
  return stage.server.methods(`${what}.declare`).map(({ args }) => ({
    name: args[what] as string,
    passive: args["passive"] === true,
    durable: args["durable"] === true,
    args: { ...(args["arguments"] as object), ...(what === "exchange" ? { type: args["type"] } : {}) },
  }));
}

function bindings(stage: Stage): unknown[] {
  return stage.server.methods("queue.bind").map(({ args }) => [args["queue"], args["exchange"], args["routingKey"]]);
}

async function declare(options: Parameters<typeof Stage.open>[1], plan: Partial<TopicPlan> = {}): Promise<Stage> {
  const stage = await Stage.open({}, options);
  await stage.transport.admin.declare([{ ...ORDERS, ...plan }], signal());
  return stage;
}

describe("what is declared", () => {
  it("a durable fanout exchange, and for each group its dead letters first, then its quorum queue, then the binding", async () => {
    await using stage = await declare({});
    expect(declared(stage, "exchange")).toEqual([
      { name: "orders", passive: false, durable: true, args: { type: "fanout" } },
    ]);
    expect(declared(stage, "queue")).toEqual([
      {
        name: "orders.billing.dead-letters.dead-letters",
        passive: false,
        durable: true,
        args: { "x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000 },
      },
      {
        name: "orders.billing",
        passive: false,
        durable: true,
        args: {
          "x-queue-type": "quorum",
          "x-delivery-limit": 200,
          "x-dead-letter-exchange": "",
          "x-dead-letter-routing-key": "orders.billing.dead-letters.dead-letters",
          "x-dead-letter-strategy": "at-least-once",
          "x-overflow": "reject-publish",
        },
      },
    ]);
    expect(bindings(stage)).toEqual([["orders.billing", "orders", ""]]);
  });

  it("an ordered topic has a single active consumer", async () => {
    await using stage = await declare({}, { ordered: true });
    expect(declared(stage, "queue")[1]!.args["x-single-active-consumer"]).toBe(true);
  });

  it("a queue of dead letters gives nothing up, however often it is looked through", async () => {
    await using stage = await declare({}, { groups: ["dead-letters"] });
    expect(declared(stage, "queue")).toEqual([
      {
        name: "orders.dead-letters",
        passive: false,
        durable: true,
        args: { "x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000 },
      },
    ]);
  });

  it("classic queues have neither a limit nor at-least-once dead letters to offer", async () => {
    await using stage = await declare({ queueType: "classic" }, { ordered: true });
    expect(declared(stage, "queue")).toEqual([
      {
        name: "orders.billing",
        passive: false,
        durable: true,
        args: { "x-queue-type": "classic", "x-single-active-consumer": true },
      },
    ]);
    expect(stage.transport.traits.countsDeliveries).toBe(false);
  });

  it("other names and another exchange, where they are given", async () => {
    const topics = {
      orders: { exchange: "shop", exchangeType: "topic", routingKey: "orders.new", queues: { billing: "bills" } },
    } as const;
    await using stage = await declare({ topics, deliveryLimit: 50 }, { groups: ["billing", "mail"] });
    expect(declared(stage, "exchange")).toEqual([
      { name: "shop", passive: false, durable: true, args: { type: "topic" } },
    ]);
    expect(declared(stage, "queue").map((q) => [q.name, q.args["x-delivery-limit"]])).toEqual([
      ["orders.billing.dead-letters.dead-letters", 1_000_000_000],
      ["bills", 50],
      ["orders.mail.dead-letters.dead-letters", 1_000_000_000],
      ["orders.mail", 50],
    ]);
    expect(bindings(stage)).toEqual([
      ["bills", "shop", "#"],
      ["orders.mail", "shop", "#"],
    ]);
    const sending = await stage.sender();
    sending.post([message(1)]);
    await sending.count(1);
    expect(stage.server.publishes[0]).toMatchObject({ exchange: "shop", routingKey: "orders.new" });
  });

  it("somebody else's queue is looked at, used through the default exchange, and never changed", async () => {
    await using stage = await Stage.open({}, { topics: { orders: { queue: "their-queue", declare: false } } });
    const sending = await stage.sender({ name: "orders", ordered: false, groups: [] });
    await stage.receiver();
    sending.post([message(1)]);
    await sending.count(1);
    expect(declared(stage, "exchange")).toEqual([]);
    expect(declared(stage, "queue").every((q) => q.name === "their-queue" && q.passive)).toBe(true);
    expect(bindings(stage)).toEqual([]);
    expect(stage.server.publishes[0]).toMatchObject({ exchange: "", routingKey: "their-queue", mandatory: true });
    expect(stage.server.methods("basic.consume")[0]!.args["queue"]).toBe("their-queue");
    expect(sending.verdict("m1")).toMatchObject({ proof: { routed: "yes", persisted: "unverified" } });
  });

  it("a group that subscribes has its queue, though the topic names no groups", async () => {
    await using stage = await Stage.open({});
    await stage.receiver({ plan: { name: "orders", ordered: false, groups: [] } });
    expect(declared(stage, "queue").map((q) => q.name)).toEqual([
      "orders.billing.dead-letters.dead-letters",
      "orders.billing",
    ]);
  });

  it("persisted is proven where a queue of ours is known, unverified where none is", async () => {
    await using stage = await Stage.open({});
    const sending = await stage.sender({ ...ORDERS, groups: [] });
    sending.post([message(1)]);
    await sending.count(1);
    await stage.transport.admin.declare([ORDERS], signal());
    sending.post([message(2)]);
    await sending.count(2);
    expect(sending.verdict("m1")).toMatchObject({ proof: { persisted: "unverified" } });
    expect(sending.verdict("m2")).toMatchObject({
      proof: { routed: "yes", persisted: "yes", replicated: "unverified" },
    });
  });

  it("a queue name beyond 250 bytes is refused with the way out", async () => {
    await using stage = await Stage.open({});
    const plan = { name: "t".repeat(200), ordered: false, groups: ["g".repeat(60)] };
    await expect(stage.transport.admin.declare([plan], signal())).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringContaining("queues") as string,
    });
  });
});

describe("what the broker refuses", () => {
  const refusals: readonly (readonly [string, number, string, string, boolean])[] = [
    [
      "another queue of that name",
      406,
      "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'orders.billing' in vhost '/'",
      "topology",
      false,
    ],
    [
      "a missing permission",
      403,
      "ACCESS_REFUSED - configure access to queue 'orders.billing' refused",
      "unauthorized",
      false,
    ],
    [
      "a stream of that name",
      406,
      "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'orders.billing' in vhost '/': received 'quorum' but current is 'stream'",
      "unsupported",
      false,
    ],
    ["an exclusive queue of somebody's", 405, "RESOURCE_LOCKED - cannot obtain exclusive access", "topology", true],
    ["a queue without a majority", 541, "INTERNAL_ERROR - quorum not reached", "unreachable", true],
  ];
  for (const [name, code, text, expected, retryable] of refusals) {
    it(`${name} is ${expected}, and the next declaration has a channel of its own`, async () => {
      let refuse = true;
      await using stage = await Stage.open({
        onMethod(method, _connection, channel) {
          if (method.name !== "queue.declare" || !refuse) return;
          channel!.close(code, text, "queue.declare");
          return "handled";
        },
      });
      const error = await stage.transport.admin.declare([ORDERS], signal()).then(
        () => null,
        (e: unknown) => e,
      );
      expect(error).toMatchObject({
        code: expected,
        retryable,
        message: expect.stringContaining(expected === "unsupported" ? "give the group a quorum queue" : text) as string,
      });
      if (code === 406 && expected === "topology")
        expect((error as Error).message).toMatch(/delete it, name another one in topics, or set declare: false/);
      refuse = false;
      await stage.transport.admin.declare([ORDERS], signal());
      expect(stage.server.connections).toHaveLength(1);
    });
  }

  it("a queue of somebody else's that is not there is topology, and says so", async () => {
    await using stage = await Stage.open(
      {
        onMethod: (method, _c, channel) =>
          method.name === "queue.declare"
            ? (channel!.close(404, "NOT_FOUND - no queue 'their-queue' in vhost '/'", "queue.declare"), "handled")
            : undefined,
      },
      { topics: { orders: { queue: "their-queue", declare: false } } },
    );
    await expect(stage.transport.admin.declare([ORDERS], signal())).rejects.toMatchObject({
      code: "topology",
      message: expect.stringContaining("the option declare says that others make it") as string,
    });
  });

  it("a connection that ends meanwhile says nothing about the topology", async () => {
    await using stage = await Stage.open({
      onMethod: (method, connection) => (method.name === "queue.declare" ? (connection.drop(), "handled") : undefined),
    });
    await expect(stage.transport.admin.declare([ORDERS], signal())).rejects.toMatchObject({
      code: "unreachable",
      retryable: true,
      message: expect.stringContaining("amqp://127.0.0.1:") as string,
    });
  });

  it("a declaration that is never answered ends with its signal", async () => {
    await using stage = await Stage.open({
      onMethod: (method) => (method.name === "queue.declare" ? "handled" : undefined),
    });
    await expect(stage.transport.admin.declare([ORDERS], AbortSignal.timeout(50))).rejects.toThrow();
  });
});

describe("backlog", () => {
  it("is what waits, and what is out here", async () => {
    await using stage = await Stage.open({
      onMethod: (method, _c, channel) =>
        method.name === "queue.declare" && method.args["passive"] === true
          ? (channel!.send("queue.declare-ok", { queue: "orders.billing", messageCount: 40, consumerCount: 1 }),
            "handled")
          : undefined,
      onConsume: ({ tag }, channel) => [1, 2, 3].forEach(() => channel.deliver({ consumerTag: tag })),
    });
    const receiving = await stage.receiver();
    const [one] = await receiving.first(3);
    receiving.ack(one!);
    // Once the broker has been told.
    await expect.poll(() => stage.transport.admin.backlog("orders", "billing", signal())).toBe(42);
  });
});
