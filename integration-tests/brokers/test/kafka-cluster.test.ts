import { Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type KafkaCluster, type KafkaNode, startKafkaCluster } from "../index.ts";

const TOPIC = "orders";

let cluster: KafkaCluster;
beforeAll(async () => {
  cluster = await startKafkaCluster();
  await using user = await client();
  await user.admin.createTopics({ topics: [{ topic: TOPIC, numPartitions: 2 }] });
});
afterAll(() => cluster.stop());

/** Plain kafkajs, as a user without Tally has it; a new one each time, since one does not outlive every kill. */
async function client(brokers = cluster.direct) {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING });
  const [admin, producer] = [kafka.admin(), kafka.producer()];
  await Promise.all([admin.connect(), producer.connect()]);
  const close = async (): Promise<void> => void (await Promise.all([admin.disconnect(), producer.disconnect()]));
  return { admin, producer, [Symbol.asyncDispose]: close };
}

async function send(partition: number, count: number): Promise<void> {
  await using user = await client();
  const messages = Array.from({ length: count }, () => ({ partition, value: "x" }));
  await user.producer.send({ topic: TOPIC, acks: -1, messages });
}

async function killed(node: KafkaNode): Promise<void> {
  await node.kill();
  expect(await node.state()).toBe("dead");
}

test("three nodes form one cluster: three replicas of each partition, two of them must have what is accepted", async () => {
  await using user = await client();
  expect((await user.admin.describeCluster()).brokers).toHaveLength(3);
  const { topics } = await user.admin.fetchTopicMetadata({ topics: [TOPIC] });
  for (const { replicas } of topics[0]!.partitions) expect(replicas.toSorted()).toEqual([1, 2, 3]);
  const { resources } = await user.admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: 2, name: TOPIC, configNames: ["min.insync.replicas"] }],
  });
  expect(resources[0]!.configEntries[0]!.configValue).toBe("2");
});

test("clients that came by one proxy are told of the proxies, and of nothing else", async () => {
  await using user = await client([cluster.proxied[0]!]);
  const { brokers } = await user.admin.describeCluster();
  expect(brokers.map(({ host, port }) => `${host}:${port}`).toSorted()).toEqual(cluster.proxied.toSorted());
});

test("the leader killed with -9, another leads and nothing accepted is lost; the killed one is in sync again", async () => {
  await send(0, 20);
  const leader = await cluster.leaderOf(TOPIC);
  await killed(leader);
  const next = await cluster.leaderOf(TOPIC);
  expect(next).not.toBe(leader);
  await send(0, 1);
  expect(await cluster.endOf(TOPIC)).toBe(21);
  await leader.start();
  await cluster.inSync(TOPIC);
  expect(await cluster.followersOf(TOPIC)).toContain(leader);
});

test("two of three killed and started again at once: nothing accepted is lost, and they serve", async () => {
  await send(1, 20);
  const [one, two] = (await cluster.followersOf(TOPIC, 1)) as [KafkaNode, KafkaNode];
  await Promise.all([killed(one), killed(two)]);
  await Promise.all([one.start(), two.start()]);
  await cluster.inSync(TOPIC);
  expect(await cluster.endOf(TOPIC, 1)).toBe(20);
  await send(1, 1);
});

test("a leader moves with all nodes alive, and only that partition's", async () => {
  const other = await cluster.leaderOf(TOPIC, 1);
  const leader = await cluster.leaderOf(TOPIC, 0);
  const next = await cluster.moveLeader(TOPIC, 0);
  expect(next).not.toBe(leader);
  expect(await cluster.leaderOf(TOPIC, 0)).toBe(next);
  expect(await cluster.leaderOf(TOPIC, 1)).toBe(other);
  await send(0, 1);
});
