import { gunzipSync } from "node:zlib";
import { deadLetter, openTally, type Tally, topic } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { CompressionTypes, Kafka, logLevel } from "kafkajs";
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

it.each(["gzip", "zstd", "snappy", "lz4"])("what Java compresses with %s is consumed", async (codec) => {
  const packed = topic<Order>(`java-${codec}`, { groups: ["billing"] });
  const got: number[] = [];
  const all = Promise.withResolvers<void>();
  await using _billing = await tally
    .consumer("billing", { effect: "none" })
    .on(packed, ({ n }) => {
      if (got.push(n) === 50) all.resolve();
    })
    .start();
  await node.shell(
    `for n in $(seq 50); do echo "{\\"customer\\":\\"a customer of that name\\",\\"n\\":$n}"; done | java -cp '/opt/kafka/libs/*' ${PRODUCER} --bootstrap-server ${node.inside} --topic java-${codec} --compression-codec ${codec}`,
  );
  await all.promise;
  expect(got.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
});

it.each(["gzip", "zstd"] as const)(
  "what we compress with %s is read by Java's console consumer, and by us",
  async (compression) => {
    const packed = topic<Order>(`ours-${compression}`, { groups: ["billing"] });
    await using shop = await openTally({
      service: "shop",
      broker: kafka({ brokers: [node.direct], compression, partitions: 1 }),
      topics: [packed],
    });
    await Promise.all(Array.from({ length: 20 }, (_, n) => shop.publish(packed, { customer: "ada", n })));
    const got = new Set<number>();
    const all = Promise.withResolvers<void>();
    await using _billing = await shop
      .consumer("billing", { effect: "none" })
      .on(packed, ({ n }) => {
        if (got.add(n).size === 20) all.resolve();
      })
      .start();
    await all.promise;
    const said = await node.tool(CONSUMER, [
      ...["--bootstrap-server", node.inside, "--topic", `ours-${compression}`, "--from-beginning"],
      ...["--max-messages", "20", "--timeout-ms", "30000"],
    ]);
    expect(said.split("\n").filter((line) => line.startsWith("{"))).toHaveLength(20);
    const dump = await node.shell(
      `java -cp '/opt/kafka/libs/*' org.apache.kafka.tools.DumpLogSegments --files /tmp/tally-kafka/data/ours-${compression}-0/00000000000000000000.log`,
    );
    expect(dump).toContain(`compresscodec: ${compression}`);
  },
);

it("a bomb is dead-lettered, each of its messages, with the bytes that came; those beside it are handled", async () => {
  const bombed = topic<Order>("bombed", { groups: ["billing"] });
  const surfaced: string[] = [];
  await using shop = await openTally({
    service: "shop",
    broker: kafka({ brokers: [node.direct], maxInflatedBytes: 1_000_000 }),
    topics: [bombed],
    onEvent: (event) => {
      if (event.type === "surfaced") surfaced.push(event.text);
    },
  });
  const raw = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).producer();
  await raw.connect();
  const send = (compression: CompressionTypes, ...bodies: readonly Buffer[]) =>
    raw.send({ topic: "bombed", compression, messages: bodies.map((value) => ({ value, partition: 0 })) });
  const order = (n: number): Buffer => Buffer.from(JSON.stringify({ customer: "ada", n }));
  await shop.publish(bombed, { customer: "ada", n: 0 });
  await send(CompressionTypes.GZIP, order(1), order(2));
  await send(CompressionTypes.GZIP, Buffer.alloc(30_000_000), order(3));
  await send(CompressionTypes.None, order(4));
  await raw.disconnect();
  const got = new Set<number>();
  const all = Promise.withResolvers<void>();
  await using _billing = await shop
    .consumer("billing", { effect: "none", onError: () => deadLetter("unreadable") })
    .on(bombed, ({ n }) => {
      if (got.add(n).size === 4) all.resolve();
    })
    .start();
  await all.promise;
  expect([...got].toSorted()).toEqual([0, 1, 2, 4]);
  const letters = async () => await shop.deadLetters(bombed, "billing").list();
  await expect.poll(async () => (await letters()).length, { interval: 1_000 }).toBe(2);
  const [whole] = (await letters()).filter(({ body }) => body.length > 0);
  expect(gunzipSync(whole!.body).length).toBeGreaterThan(30_000_000);
  expect(whole).toMatchObject({ id: null, contentEncoding: "kafka-batch" });
  expect(surfaced.join()).toMatch(
    /bombed\/0: a gzip batch that becomes more than \d+ bytes \(maxInflatedBytes\); its messages, from offset \d+ on/,
  );
});
