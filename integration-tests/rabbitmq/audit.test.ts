// One broker, and a virtual host of its own: each finding of the audit on a set-up that is broken in that way.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AuditFinding,
  type AuditReport,
  openTally,
  type Tally,
  TallyError,
  type TallyOptions,
  type Topic,
  topic,
} from "@tallymq/core";
import { rabbitmq, type RabbitOptions, type RabbitTopicOptions } from "@tallymq/rabbitmq";
import type { Channel, Options } from "amqplib";
import { sharedRabbit, type SharedRabbit } from "../brokers/vitest/shared.ts";
import { outsider } from "./stage.ts";

let rabbit: SharedRabbit;
let other: Awaited<ReturnType<typeof outsider>>;
let names = 0;

beforeAll(async () => {
  rabbit = await sharedRabbit();
  other = await outsider(rabbit.url);
});
afterAll(async () => {
  await other[Symbol.asyncDispose]();
  await rabbit.stop();
});

type Orders = Topic<number>;

function fresh(ordered = false): Orders {
  return topic<number>(`audited-${++names}`, { groups: ["g"], key: String, ordered });
}

async function open(
  orders: Orders,
  of: RabbitTopicOptions = {},
  options: Partial<RabbitOptions> = {},
  tally: Partial<TallyOptions> = {},
): Promise<Tally<never>> {
  const management = { url: rabbit.managementUrl };
  const broker = rabbitmq({ urls: [rabbit.url], management, topics: { [orders.name]: of }, ...options });
  return (await openTally({ service: "shop", broker, topics: [orders], ...tally })) as Tally<never>;
}

/** One look at a topic that others have made, with a group that consumes it; what is `info` on one node is left out. */
async function look(
  orders: Orders,
  of: RabbitTopicOptions,
  options: Partial<RabbitOptions> = {},
): Promise<AuditReport> {
  await using tally = await open(orders, of, options);
  return await tally.audit();
}

function found({ findings }: AuditReport): readonly string[] {
  return findings.filter(({ severity }) => severity !== "info").map(({ check, severity }) => `${check} ${severity}`);
}

async function errorOf(work: Promise<unknown>): Promise<TallyError> {
  const thrown = await work.then(
    () => null,
    (e: unknown) => e,
  );
  if (!TallyError.is(thrown)) throw new Error(`no TallyError: ${String(thrown)}`);
  return thrown;
}

const QUORUM = { "x-queue-type": "quorum", "x-delivery-limit": 200 };
const LETTERS = { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "letters" };
const SAFE = {
  ...QUORUM,
  ...LETTERS,
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
};

interface Broken {
  readonly exchange?: Options.AssertExchange;
  readonly queue?: Options.AssertQueue;
  readonly policy?: object;
  readonly operator?: object;
  readonly ordered?: boolean;
  readonly bound?: boolean;
}

/** What somebody else has made, and broken in one way. */
async function make(
  channel: Channel,
  orders: Orders,
  { exchange, queue, policy, operator, bound = true }: Broken,
): Promise<void> {
  const { name } = orders;
  await channel.assertQueue("letters", { durable: true, arguments: { "x-queue-type": "quorum" } });
  await channel.assertExchange(name, "fanout", { durable: true, ...exchange });
  await channel.assertQueue(`${name}.g`, { durable: true, arguments: SAFE, ...queue });
  if (bound) await channel.bindQueue(`${name}.g`, name, "");
  const apply = ["--vhost", rabbit.vhost, "--apply-to", "queues", name, `^${name}[.]g$`];
  if (policy !== undefined) await rabbit.admin.ctl("set_policy", ...apply, JSON.stringify(policy));
  if (operator !== undefined) await rabbit.admin.ctl("set_operator_policy", ...apply, JSON.stringify(operator));
}

describe("each finding, on a broker that is broken in that way", () => {
  const table: readonly (readonly [string, Broken, readonly string[]])[] = [
    ["nothing is broken", {}, []],
    ["an exchange that is not durable", { exchange: { durable: false } }, ["exchange-durable error"]],
    [
      "a queue that is not durable",
      { queue: { durable: false, arguments: { "x-queue-type": "classic" } } },
      ["queue-durable error", "queue-type warning"],
    ],
    [
      "a queue that goes with its last consumer",
      { queue: { autoDelete: true, arguments: { "x-queue-type": "classic" } } },
      ["queue-durable error", "queue-type warning"],
    ],
    ["no dead letters", { queue: { arguments: QUORUM } }, ["dead-letters error"]],
    [
      "dead letters to nowhere",
      { queue: { arguments: { ...SAFE, "x-dead-letter-routing-key": "nobody" } } },
      ["dead-letters error"],
    ],
    [
      "dead letters at most once",
      { queue: { arguments: { ...QUORUM, ...LETTERS } } },
      ["dead-letter-strategy warning"],
    ],
    [
      "at least once without reject-publish",
      { queue: { arguments: { ...SAFE, "x-overflow": "drop-head" } } },
      ["dead-letter-strategy error"],
    ],
    [
      "the broker's delivery limit",
      { queue: { arguments: { ...SAFE, "x-delivery-limit": 20 } } },
      ["delivery-limit warning"],
    ],
    [
      "a bound by policy that drops the oldest",
      { queue: { arguments: { "x-queue-type": "classic" } }, policy: { "max-length": 10 } },
      ["overflow error", "queue-type warning"],
    ],
    [
      "a TTL by policy",
      { queue: { arguments: { "x-queue-type": "classic" } }, policy: { "message-ttl": 60_000 } },
      ["dead-letters error", "message-ttl error", "queue-type warning"],
    ],
    ["a queue that expires", { queue: { arguments: { ...SAFE, "x-expires": 600_000 } } }, ["queue-expires error"]],
    [
      "an operator policy that lowers the limit",
      { operator: { "delivery-limit": 5 } },
      ["delivery-limit warning", "policy warning"],
    ],
    ["an ordered topic without a single active consumer", { ordered: true }, ["single-active-consumer error"]],
    ["a queue that is not bound", { bound: false }, ["binding error"]],
  ];
  it.each(table)("%s", async (_name, broken, expected) => {
    const orders = fresh(broken.ordered);
    await make(other.channel, orders, broken);
    const report = await look(orders, { declare: false });
    expect(found(report).toSorted()).toEqual(expected.toSorted());
    for (const { why, fix, what } of report.findings)
      expect([why, fix, what].every((text) => text.length > 5)).toBe(true);
  });

  it("over AMQP alone, without the management API, what the queue itself says is found all the same", async () => {
    const orders = fresh(true);
    await make(other.channel, orders, {
      exchange: { durable: false },
      queue: { arguments: { ...QUORUM, ...LETTERS } },
    });
    await using tally = await open(orders, { declare: false }, { management: undefined } as never);
    const report = await tally.audit();
    expect(found(report).toSorted()).toEqual(
      ["exchange-durable error", "single-active-consumer error", "dead-letter-strategy warning"].toSorted(),
    );
    const unseen = report.findings.filter(({ text }) => text.startsWith("unverifiable")).map(({ check }) => check);
    expect(unseen).toEqual(["replicas", "policy"]);
    expect(report.findings.find(({ check }) => check === "management")?.text).toBe("it is not given");
  });

  it("what is missing is found, and not made", async () => {
    const orders = fresh();
    await using tally = await open(orders);
    await other.channel.deleteQueue(`${orders.name}.g`);
    expect(found(await tally.audit())).toEqual(["queue-missing error"]);
    expect((await rabbit.admin.queues()).some(({ name }) => name === `${orders.name}.g`)).toBe(false);
  });

  it("what Tally makes by itself is without errors and warnings; one node is told, and handlers that are too slow", async () => {
    const orders = fresh(true);
    await using tally = await open(orders);
    await using _consumer = await tally
      .consumer("g", { processingDeadline: "20m", attempts: 2 })
      .on(orders, () => {})
      .start();
    const report = await tally.audit();
    expect(found(report)).toEqual(["consumer-timeout warning"]);
    const of = (check: string): AuditFinding | undefined => report.findings.find((one) => one.check === check);
    expect(of("replicas")).toMatchObject({ severity: "info", text: "1 replica: the cluster has no more nodes" });
    expect(of("consumer-timeout")!.text).toContain("and the time-out is 1800000 ms");
  });

  it("messages of others that are not persistent", async () => {
    const orders = fresh();
    await other.channel.assertQueue(`${orders.name}.g`, { durable: true, arguments: { "x-queue-type": "classic" } });
    await other.channel.assertExchange(orders.name, "fanout", { durable: true });
    await other.channel.bindQueue(`${orders.name}.g`, orders.name, "");
    for (let i = 0; i < 3; i++) other.channel.publish(orders.name, "", Buffer.from("x"), { persistent: false });
    await using tally = await open(orders, { declare: false });
    // The broker's counts come every five seconds.
    await expect
      .poll(async () => found(await tally.audit()), { timeout: 20_000, interval: 500 })
      .toContain("transient-messages warning");
  });
});

describe("the management API", () => {
  it.each([
    ["with a wrong password", (url: string) => url.replace("guest:guest@", "guest:wr0ng-secret@"), /answers 401/],
    ["that is not there", () => "http://guest:wr0ng-secret@127.0.0.1:19", /ECONNREFUSED|refused|bad port/],
  ] as const)("%s is a finding that says so, and what only it knows is unverifiable", async (_name, url, words) => {
    const orders = fresh();
    const report = await look(orders, {}, { management: { url: url(rabbit.managementUrl) } });
    const silent = report.findings.find(({ check }) => check === "management");
    expect(silent!.text).toMatch(words);
    expect(JSON.stringify(report)).not.toContain("wr0ng-secret");
    expect(report.findings.map(({ text }) => text).filter((text) => text.startsWith("unverifiable"))).toHaveLength(2);
  });
});

describe('durability: "enforce"', () => {
  it("openTally() and a consumer's start() are refused, with all errors and their fixes; nothing was begun", async () => {
    const orders = fresh(true);
    await make(other.channel, orders, { queue: { arguments: QUORUM } });
    other.channel.publish(orders.name, "", Buffer.from("1"), { messageId: "m", contentType: "application/json" });
    const error = await errorOf(open(orders, { declare: false }, {}, { durability: "enforce" }));
    expect(error).toMatchObject({ code: "unsafe", retryable: false });
    expect(error.message).toContain("refuses these 2: 1. dead-letters: queue");
    expect(error.message).toContain("single-active-consumer");
    expect(error.message).toContain(`--vhost ${rabbit.vhost}`);
    await using tally = await open(orders, { declare: false }, {}, { durability: "enforce", topics: [] });
    const seen: number[] = [];
    const starting = tally
      .consumer("g")
      .on(orders, (n) => void seen.push(n))
      .start();
    expect(await errorOf(starting)).toMatchObject({ code: "unsafe" });
    expect(seen).toEqual([]);
    await expect.poll(() => rabbit.admin.ready(`${orders.name}.g`)).toBe(1);
  });

  it("what Tally makes by itself starts", async () => {
    const orders = fresh(true);
    await using tally = await open(orders, {}, {}, { durability: "enforce" });
    await using _consumer = await tally
      .consumer("g")
      .on(orders, () => {})
      .start();
  });
});
