import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { delay, openTally, type Tally, topic, type Topic } from "@tallymq/core";
import { kafka, type KafkaOptions } from "@tallymq/kafka";
import { memoryInbox } from "@tallymq/testkit";
import { Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../brokers/engine/wait.ts";
import { type KafkaNode, startKafka } from "../brokers/index.ts";
import { NODE_FLAGS } from "../workload/node-flags.ts";

let node: KafkaNode;
let names = 0;
beforeAll(async () => void (node = await startKafka()));
afterAll(() => node.stop());

interface Order {
  readonly n: number;
}

function stage(options: Partial<KafkaOptions> = {}): [Topic<Order>, Promise<Tally>] {
  const orders = topic<Order>(`later-${++names}`, { groups: ["billing"] });
  const broker = kafka({
    ...{ brokers: [node.direct], partitions: 2, heartbeat: "200ms", sessionTimeout: "2s", fetchWait: "50ms" },
    ...options,
  });
  return [orders, openTally({ service: "shop", broker, topics: [orders], inbox: memoryInbox() })];
}

/** What lies in each partition of a topic, from the oldest that is kept. */
async function held(name: string): Promise<readonly number[]> {
  const admin = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  const offsets = await admin.fetchTopicOffsets(name);
  await admin.disconnect();
  return offsets.toSorted((a, b) => a.partition - b.partition).map(({ low, high }) => Number(high) - Number(low));
}

describe("delays on Kafka, without a plugin", () => {
  it("rule 17: 1 s published after 1 h arrives first, not before its time, with its headers and no account of its hops", async () => {
    const [orders, opening] = stage();
    await using tally = await opening;
    const got: { n: number; after: number; headers: object; attempt: number }[] = [];
    let began = 0;
    await using _billing = await tally
      .consumer("billing")
      .on(orders, async ({ n }, { headers, attempt }) => {
        got.push({ n, after: performance.now() - began, headers: { ...headers }, attempt });
      })
      .start();
    began = performance.now();
    for (let n = 0; n < 150; n++) await tally.publish(orders, { n: 3_600 }, { delay: "1h" });
    began = performance.now();
    await tally.publish(orders, { n: 1 }, { delay: "1s", headers: { tenant: "acme" } });
    await until("the one of a second", 20_000, () => got.length > 0);
    expect(got).toEqual([{ n: 1, after: expect.any(Number), headers: { tenant: "acme" }, attempt: 1 }]);
    expect(got[0]!.after).toBeGreaterThanOrEqual(995);
    const steps = await held(`${orders.name}.delays`);
    expect(steps).toHaveLength(25);
    // 64 ms × 2^15 is 35 minutes.
    expect(steps[15]).toBe(150);
  });

  it("an unordered failure comes again later as a delayed copy, with an attempt more, while others of its partition go on", async () => {
    const [orders, opening] = stage({ partitions: 1 });
    await using tally = await opening;
    const runs: string[] = [];
    await using _billing = await tally
      .consumer("billing", { attempts: 1, onError: () => delay({ after: "500ms" }) })
      .on(orders, async ({ n }, { deliveries }) => {
        runs.push(`${n}${deliveries ?? ""}`);
        if (n === 0 && runs.filter((run) => run === "0").length < 3) throw new Error("not yet");
      })
      .start();
    for (let n = 0; n < 5; n++) await tally.publish(orders, { n });
    await until("its third run", 30_000, () => runs.filter((run) => run === "0").length === 3);
    expect(runs.slice(0, 5)).toEqual(["0", "1", "2", "3", "4"]);
    expect(tally.counters()).toMatchObject({ delayed: 2 });
  });

  it("an ordered topic is refused by name, before anything is sent", async () => {
    const [, opening] = stage();
    await using tally = await opening;
    const bills = topic<Order>(`bills-${names}`, { groups: ["billing"], ordered: true, key: ({ n }) => String(n) });
    await expect(tally.publish(bills, { n: 1 }, { delay: "1s" })).rejects.toMatchObject({
      code: "unsupported",
      mayArrive: false,
      message: expect.stringContaining(bills.name),
    });
  });
});

describe("between two hops", () => {
  const COUNT = 150;

  /** A process that delays messages and forwards them; killed once the first has arrived. */
  async function killedProcess(name: string): Promise<ChildProcess> {
    const { NODE_OPTIONS: _, ...env } = process.env;
    const child = fork(join(import.meta.dirname, "delaying.ts"), [node.direct, name, String(COUNT)], {
      execArgv: [...NODE_FLAGS],
      env,
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    await new Promise((resolve, reject) => {
      child.once("message", resolve);
      child.once("exit", () => reject(new Error("it ended by itself")));
    });
    return child;
  }

  it("a process that is killed loses none, and an inbox makes one effect of what was forwarded twice", async () => {
    const [orders, opening] = stage();
    const child = await killedProcess(orders.name);
    // Some are through, the others in their steps.
    await until("the first to be through", 20_000, async () => (await held(orders.name)).some((n) => n > 0));
    child.kill("SIGKILL");
    await using tally = await opening;
    const effects: number[] = [];
    await using _billing = await tally
      .consumer("billing", { effect: "marked" })
      .on(orders, async ({ n }) => void effects.push(n))
      .start();
    await until("all of them", 60_000, () => new Set(effects).size === COUNT);
    expect(effects).toHaveLength(COUNT);
  });

  it("a broker that is killed loses none", async () => {
    const [orders, opening] = stage();
    await using tally = await opening;
    const effects: number[] = [];
    await using _billing = await tally
      .consumer("billing", { effect: "marked" })
      .on(orders, async ({ n }) => void effects.push(n))
      .start();
    await Promise.all(
      Array.from({ length: COUNT }, (_, n) => tally.publish(orders, { n }, { delay: `${200 + 20 * n}ms` })),
    );
    await until("the first of them", 20_000, () => effects.length > 0);
    await node.kill();
    await node.start();
    await until("all of them", 60_000, () => new Set(effects).size === COUNT);
    expect(effects).toHaveLength(COUNT);
  });
});
