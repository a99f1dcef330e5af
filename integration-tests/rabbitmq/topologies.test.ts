// One broker, and a virtual host of its own: each kind of topology that others may have made, as RabbitMQ answers for it.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openTally, TallyError, topic } from "@tallymq/core";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import type { TopicPlan, Transport } from "@tallymq/core/spi";
import { sharedRabbit, type SharedRabbit } from "../brokers/vitest/shared.ts";
import { message, messages, openTransport, outsider, plan, Receiving, Sending, signal } from "./stage.ts";

let rabbit: SharedRabbit;
let other: Awaited<ReturnType<typeof outsider>>;
let names = 0;
const open: Transport[] = [];

beforeAll(async () => {
  rabbit = await sharedRabbit();
  other = await outsider(rabbit.url);
});
afterAll(async () => {
  await Promise.all(open.map((transport) => transport[Symbol.asyncDispose]()));
  await other[Symbol.asyncDispose]();
  await rabbit.stop();
});

function fresh(given: Partial<TopicPlan> = {}): TopicPlan {
  return plan(`t-${++names}`, given);
}

function transport(options: Partial<RabbitOptions> = {}, url = rabbit.url): Transport {
  const made = openTransport(url, options);
  open.push(made);
  return made;
}

async function errorOf(work: Promise<unknown>): Promise<TallyError> {
  const thrown = await work.then(
    () => null,
    (e: unknown) => e,
  );
  if (!TallyError.is(thrown)) throw new Error(`no TallyError: ${String(thrown)}`);
  return thrown;
}

/** Whether a queue or exchange is there; the asking leaves nothing behind. */
async function there(what: "queue" | "exchange", name: string): Promise<boolean> {
  await using asking = await outsider(rabbit.url);
  const { channel } = asking;
  return await (what === "queue" ? channel.checkQueue(name) : channel.checkExchange(name)).then(
    () => true,
    () => false,
  );
}

/** Publishes with these headers and routing keys, and says which of them the group got. */
async function reaches(
  on: Transport,
  topic: TopicPlan,
  sent: readonly { headers?: Record<string, string>; routingKey?: string; key?: string }[],
): Promise<{ kinds: readonly string[]; got: readonly (string | null)[] }> {
  await using sending = await Sending.open(on, topic);
  const batch = sent.map(({ headers = {}, routingKey, key = null }, i) =>
    message(topic, i + 1, { headers, key, native: routingKey === undefined ? null : { routingKey } }),
  );
  const kinds = await sending.send(batch);
  const receiving = await Receiving.open(on, topic);
  await receiving.first(kinds.filter((kind) => kind === "accepted").length);
  receiving.ack(...receiving.deliveries);
  await receiving.port[Symbol.asyncDispose]();
  return { kinds, got: receiving.ids };
}

describe("existing exchanges, used as they are", () => {
  it.each([
    ["direct", "new", { queue: "new" }, [{ routingKey: "new" }, { routingKey: "old" }]],
    ["topic", "order.new", { queue: "order.*" }, [{ routingKey: "order.old" }, { routingKey: "refund.new" }]],
    ["fanout", "", { queue: "" }, [{}, { routingKey: "x" }]],
  ] as const)("%s", async (type, routingKey, binding, sent) => {
    const topic = fresh();
    await other.channel.assertExchange(topic.name, type, { durable: true });
    await other.channel.assertQueue(`their-${topic.name}`, { durable: true, arguments: { "x-queue-type": "quorum" } });
    await other.channel.bindQueue(`their-${topic.name}`, topic.name, binding.queue);
    const on = transport({
      topics: {
        [topic.name]: { exchangeType: type, routingKey, queues: { g: `their-${topic.name}` }, declare: false },
      },
    });
    const { kinds, got } = await reaches(on, topic, sent);
    expect(kinds).toEqual(type === "fanout" ? ["accepted", "accepted"] : ["accepted", "unroutable"]);
    expect(got).toEqual(type === "fanout" ? ["m1", "m2"] : ["m1"]);
  });

  it("headers: bound by the headers of what is published", async () => {
    const topic = fresh();
    await other.channel.assertExchange(topic.name, "headers", { durable: true });
    const on = transport({
      topics: {
        [topic.name]: {
          exchangeType: "headers",
          declare: "queues",
          bindings: { g: [{ arguments: { "x-match": "all", kind: "invoice" } }] },
        },
      },
    });
    await (await Receiving.open(on, topic)).port[Symbol.asyncDispose]();
    const { kinds, got } = await reaches(on, topic, [
      { headers: { kind: "invoice" } },
      { headers: { kind: "order" } },
      { headers: { kind: "invoice", more: "x" } },
    ]);
    expect(kinds).toEqual(["accepted", "unroutable", "accepted"]);
    expect(got).toEqual(["m1", "m3"]);
  });

  it("x-consistent-hash: one key always to one queue, by the header of the key", async () => {
    const topic = fresh();
    const hash = { exchangeType: "x-consistent-hash", exchangeArguments: { "hash-header": "tally-key" } } as const;
    const on = transport({ topics: { [topic.name]: { ...hash, queues: { g: `${topic.name}.1` } } } });
    await using sending = await Sending.open(on, topic);
    await other.channel.assertQueue(`${topic.name}.2`, { durable: true, arguments: { "x-queue-type": "quorum" } });
    await other.channel.bindQueue(`${topic.name}.2`, topic.name, "1");
    const batch = Array.from({ length: 60 }, (_, i) => message(topic, i + 1, { key: `k${i % 12}` }));
    expect(new Set(await sending.send(batch))).toEqual(new Set(["accepted"]));
    const keys: Set<string | null>[] = [];
    for (const queue of ["1", "2"]) {
      const as = plan(topic.name, { groups: [] });
      const one = transport({ topics: { [topic.name]: { queues: { g: `${topic.name}.${queue}` }, declare: false } } });
      const receiving = await Receiving.open(one, as);
      const ready = await rabbit.admin.ready(`${topic.name}.${queue}`);
      await receiving.first(ready);
      await expect.poll(() => rabbit.admin.ready(`${topic.name}.${queue}`)).toBe(0);
      receiving.ack(...receiving.deliveries);
      keys.push(new Set(receiving.deliveries.map((d) => d.message.key)));
      await receiving.port[Symbol.asyncDispose]();
    }
    expect(keys[0]!.isDisjointFrom(keys[1]!)).toBe(true);
    expect(keys[0]!.size + keys[1]!.size).toBe(12);
    expect(keys.every((of) => of.size > 0)).toBe(true);
  });

  it("the default exchange: one queue by name", async () => {
    const topic = fresh();
    await other.channel.assertQueue(`one-${topic.name}`, { durable: true });
    const on = transport({ topics: { [topic.name]: { queue: `one-${topic.name}`, declare: false } } });
    expect((await reaches(on, topic, [{}, {}])).got).toEqual(["m1", "m2"]);
  });

  it("several bindings of one group", async () => {
    const topic = fresh();
    const on = transport({
      topics: {
        [topic.name]: {
          exchangeType: "topic",
          bindings: { g: [{ routingKey: "*.paid" }, { routingKey: "*.refunded" }] },
        },
      },
    });
    const { kinds } = await reaches(on, topic, [
      { routingKey: "a.paid" },
      { routingKey: "b.refunded" },
      { routingKey: "a.opened" },
    ]);
    expect(kinds).toEqual(["accepted", "accepted", "unroutable"]);
  });
});

describe("programs that do one half", () => {
  it("one that publishes makes the exchange, and no queue of the topic's groups", async () => {
    const topic = fresh();
    await using sending = await Sending.open(transport({ declare: "exchange" }), topic);
    expect(await sending.send(messages(topic, 1))).toEqual(["unroutable"]);
    expect([await there("exchange", topic.name), await there("queue", `${topic.name}.g`)]).toEqual([true, false]);
  });

  it("one that consumes makes and binds its own queue, and no exchange", async () => {
    const topic = fresh({ groups: ["g", "others"] });
    const consuming = transport({ declare: "queues" });
    const error = await errorOf(Receiving.open(consuming, topic));
    expect([error.code, error.message.includes(topic.name)]).toEqual(["topology", true]);
    expect(await there("exchange", topic.name)).toBe(false);
    const publishing = await Sending.open(transport({ declare: "exchange" }), topic);
    await consuming.admin.declare([topic], signal());
    const receiving = await Receiving.open(consuming, topic);
    expect(await publishing.send(messages(topic, 1))).toEqual(["accepted"]);
    receiving.ack(...(await receiving.first(1)));
    await receiving.port[Symbol.asyncDispose]();
    expect(await there("queue", `${topic.name}.others`)).toBe(false);
  });

  it("one that only binds makes neither", async () => {
    const topic = fresh();
    const binding = transport({ declare: "bindings" });
    const publishing = await Sending.open(transport({ declare: "exchange" }), topic);
    expect(await errorOf(Receiving.open(binding, topic))).toMatchObject({ code: "topology", retryable: false });
    expect(await there("queue", `${topic.name}.g`)).toBe(false);
    await other.channel.assertQueue(`${topic.name}.g`, { durable: true, arguments: { "x-queue-type": "quorum" } });
    const receiving = await Receiving.open(binding, topic);
    expect(await publishing.send(messages(topic, 1))).toEqual(["accepted"]);
    receiving.ack(...(await receiving.first(1)));
    await receiving.port[Symbol.asyncDispose]();
  });
});

describe("passive: declare nothing", () => {
  it("what another program made as Tally makes it is used, and known to be durable", async () => {
    const topic = fresh({ ordered: true });
    await transport().admin.declare([topic], signal());
    const passive = transport({ declare: "passive" });
    await using sending = await Sending.open(passive, topic);
    await sending.send(messages(topic, 2));
    expect(sending.verdicts.get("m1")).toMatchObject({ proof: { persisted: "yes" } });
    const receiving = await Receiving.open(passive, topic);
    receiving.ack(...(await receiving.first(2)));
    await receiving.port[Symbol.asyncDispose]();
  });

  it("what is missing is named, with what was expected, and nothing is made", async () => {
    const topic = fresh();
    const passive = transport({ declare: "passive" });
    const error = await errorOf(passive.admin.declare([topic], signal()));
    expect([error.code, error.retryable]).toEqual(["topology", false]);
    expect(error.message).toContain(`exchange "${topic.name}" is not there; expected a durable fanout exchange`);
    expect(await there("exchange", topic.name)).toBe(false);
    await other.channel.assertExchange(topic.name, "fanout", { durable: true });
    const queue = await errorOf(passive.admin.declare([topic], signal()));
    expect(queue.message).toContain(
      `queue "${topic.name}.g.dead-letters.dead-letters" is not there; expected a durable`,
    );
    expect(queue.message).toContain('x-queue-type "quorum"');
    expect(await there("queue", `${topic.name}.g.dead-letters.dead-letters`)).toBe(false);
  });

  it("what has other arguments is named with all of them, expected and got, and stays as it is", async () => {
    const topic = fresh();
    await transport().admin.declare([topic], signal());
    await other.channel.deleteQueue(`${topic.name}.g`);
    const theirs = { "x-queue-type": "classic", "x-max-length": 10 };
    await other.channel.assertQueue(`${topic.name}.g`, { durable: true, arguments: theirs });
    const error = await errorOf(transport({ declare: "passive" }).admin.declare([topic], signal()));
    expect(error).toMatchObject({ code: "topology", retryable: false });
    expect(error.message).toContain(`queue "${topic.name}.g" is not as it should be`);
    expect(error.message).toContain('x-queue-type: expected "quorum", got "classic"');
    expect(error.message).toContain("x-max-length: expected nothing, got 10");
    await other.channel.assertQueue(`${topic.name}.g`, { durable: true, arguments: theirs });
  });

  it("an exchange of another type, not durable, too", async () => {
    const topic = fresh();
    await other.channel.assertExchange(topic.name, "topic", { durable: false });
    const error = await errorOf(transport({ declare: "passive" }).admin.declare([topic], signal()));
    expect(error.message).toContain('type: expected "fanout", got "topic"; durable: expected true, got false');
  });

  it("without the right to configure anything: existence alone is checked", async () => {
    const topic = fresh();
    await transport().admin.declare([topic], signal());
    const user = `reader-${rabbit.vhost}`;
    await rabbit.admin.ctl("add_user", user, "pw");
    await rabbit.admin.ctl("set_permissions", "--vhost", rabbit.vhost, user, "^$", ".*", ".*");
    const passive = transport({ declare: "passive" }, rabbit.url.replace("guest:guest@", `${user}:pw@`));
    await using sending = await Sending.open(passive, topic);
    expect(await sending.send(messages(topic, 1))).toEqual(["accepted"]);
    expect(sending.verdicts.get("m1")).toMatchObject({ proof: { persisted: "unverified" } });
    const error = await errorOf(passive.admin.declare([fresh()], signal()));
    expect(error).toMatchObject({ code: "topology", retryable: false });
  });

  it("openTally rejects for the topics it is given, and a consumer's start for its own", async () => {
    const orders = topic(fresh().name, { groups: ["g"] });
    const broker = rabbitmq({ urls: [rabbit.url], declare: "passive" });
    expect(await errorOf(openTally({ service: "shop", broker, topics: [orders] }))).toMatchObject({ code: "topology" });
    await using tally = await openTally({ service: "shop", broker });
    expect(
      await errorOf(
        tally
          .consumer("g")
          .on(orders, () => {})
          .start(),
      ),
    ).toMatchObject({ code: "topology" });
    expect(await errorOf(tally.publish(orders, 1))).toMatchObject({ code: "topology", mayArrive: false });
  });
});

describe("queues", () => {
  it.each(["classic", "quorum"] as const)("%s, ordered: a single active consumer", async (queueType) => {
    const topic = fresh({ ordered: true });
    const on = transport({ queueType });
    await using sending = await Sending.open(on, topic);
    await sending.send(messages(topic, 2));
    const first = await Receiving.open(on, topic, { consumer: "one" });
    await first.first(2);
    const second = await Receiving.open(on, topic, { consumer: "two" });
    await sending.send(messages(topic, 1, 3));
    await first.first(3);
    expect(second.deliveries).toEqual([]);
    await first.port[Symbol.asyncDispose]();
    expect((await second.first(3)).map((d) => d.message.id)).toEqual(["m1", "m2", "m3"]);
    second.ack(...second.deliveries);
    await second.port[Symbol.asyncDispose]();
  });

  it("more arguments, where they are given: a classic queue with priorities delivers the urgent first", async () => {
    const topic = fresh();
    const queueArguments = { "x-queue-type": "classic", "x-max-priority": 5 };
    const on = transport({ topics: { [topic.name]: { queueArguments } } });
    await using sending = await Sending.open(on, topic);
    await sending.send([
      message(topic, 1, { native: { priority: 1 } }),
      message(topic, 2, { native: { priority: 4 } }),
    ]);
    const receiving = await Receiving.open(on, topic, { credit: 1 });
    expect((await receiving.first(1))[0]!.message.id).toBe("m2");
    await receiving.port[Symbol.asyncDispose]();
  });

  it.each([
    ["declare: false", false],
    ["declare: true", true],
    ["declare: passive", "passive"],
  ] as const)("a stream is refused with a clear word: %s", async (_name, declare) => {
    const topic = fresh();
    if (declare !== false) await transport().admin.declare([topic], signal());
    await other.channel.deleteQueue(`${topic.name}.g`);
    await other.channel.assertExchange(topic.name, "fanout", { durable: true });
    await other.channel.assertQueue(`${topic.name}.g`, { durable: true, arguments: { "x-queue-type": "stream" } });
    const on = transport({ topics: { [topic.name]: { declare } } });
    const error = await errorOf(Receiving.open(on, topic));
    expect([error.code, error.retryable]).toEqual(["unsupported", false]);
    expect(error.message).toContain("Tally consumes no streams; give the group a quorum queue");
  });
});

describe("several at once", () => {
  it("two virtual hosts in one program, each with its own queue of one name", async () => {
    await using second = await sharedRabbit();
    const topic = fresh();
    const [a, b] = [transport(), transport({}, second.url)];
    await using one = await Sending.open(a, topic);
    await using two = await Sending.open(b, topic);
    await one.send(messages(topic, 3));
    await two.send(messages(topic, 1));
    expect([
      await a.admin.backlog(topic.name, "g", signal()),
      await b.admin.backlog(topic.name, "g", signal()),
    ]).toEqual([3, 1]);
    await b[Symbol.asyncDispose]();
  });
});
