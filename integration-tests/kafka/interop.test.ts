import { openTally, type Tally, topic } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type KafkaNode, startKafka } from "../brokers/index.ts";

// Java's console clients, from the broker's own jars.
const PRODUCER = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer";

interface Order {
  readonly customer: string;
  readonly n: number;
}
const orders = topic<Order>("orders", { key: (o) => o.customer, groups: ["billing"] });

let node: KafkaNode;
let tally: Tally;
beforeAll(async () => {
  node = await startKafka();
  tally = await openTally({ service: "shop", broker: kafka({ brokers: [node.direct] }), topics: [orders] });
});
afterAll(async () => {
  await tally.close();
  await node.stop();
});

it("messages of ours are read by Java's console consumer, with keys and headers", async () => {
  const sent = ["ada", "bob", "cyd"].map((customer, n) => ({ customer, n }));
  for (const order of sent) await tally.publish(orders, order, { id: `o-${order.n}`, headers: { tenant: "acme" } });
  const said = await node.tool(CONSUMER, [
    ...["--bootstrap-server", node.inside, "--topic", "orders", "--from-beginning", "--max-messages", "3"],
    ...[
      "--timeout-ms",
      "30000",
      "--formatter-property",
      "print.key=true",
      "--formatter-property",
      "print.headers=true",
    ],
  ]);
  const lines = said.split("\n").filter((line) => line.includes("tally-id:"));
  expect(lines).toHaveLength(3);
  for (const order of sent) {
    const line = lines.find((one) => one.includes(`tally-id:o-${order.n}`));
    const [headers, key, body] = line!.trim().split("\t");
    expect(headers).toContain("tenant:acme");
    expect([key, JSON.parse(body!)]).toEqual([order.customer, order]);
  }
});

it("a message of Java's console producer is consumed, with its key, and lies where ours of that key lie", async () => {
  const got = new Map<string, { readonly key: string | null; readonly place: unknown }>();
  const both = Promise.withResolvers<void>();
  await using _billing = await tally
    .consumer("billing", { effect: "none" })
    .on(orders, async ({ n }, { id, key, native }) => {
      const { partition } = native as { readonly partition?: number };
      if (n >= 100) got.set(id === null ? "java" : "ours", { key, place: partition });
      if (got.size === 2) both.resolve();
    })
    .start();
  await tally.publish(orders, { customer: "ada", n: 100 }, { id: "o-100" });
  const record = `ada;${JSON.stringify({ customer: "ada", n: 101 })}`;
  await node.shell(
    `echo '${record}' | java -cp '/opt/kafka/libs/*' ${PRODUCER} --bootstrap-server ${node.inside} --topic orders --reader-property parse.key=true --reader-property 'key.separator=;'`,
  );
  await both.promise;
  expect(got.get("java")).toEqual({ key: "ada", place: expect.any(Number) });
  expect(got.get("ours")).toEqual(got.get("java"));
});
