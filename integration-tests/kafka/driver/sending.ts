import assert from "node:assert/strict";
import { SendFailure } from "../../../packages/kafka/src/driver/driver.ts";
import { rejection } from "../../../packages/kafka/src/errors.ts";
import type { DriverCase } from "./case.ts";
import { made, Member, record, stranger, withAdmin } from "./tools.ts";

export const sendingCases: readonly DriverCase[] = [
  {
    name: "a batch is answered by its partition, without an error, with the offset of its first record",
    async run(rig) {
      const topic = await made(rig, 3);
      const producer = await rig.driver(rig.node.direct).producer();
      const first = await producer.send(topic, 1, [record("a"), record("b")]);
      const second = await producer.send(topic, 1, [record("c")]);
      const other = await producer.send(topic, 2, [record("d")]);
      await producer.close();
      assert.deepEqual(
        [first, second, other],
        [
          [{ partition: 1, errorCode: 0, offset: 0 }],
          [{ partition: 1, errorCode: 0, offset: 2 }],
          [{ partition: 2, errorCode: 0, offset: 0 }],
        ],
      );
    },
  },
  {
    name: "keys, values and headers arrive as the bytes that they were, under any name",
    async run(rig) {
      const topic = await made(rig, 1);
      const driver = rig.driver(rig.node.direct);
      const sent = ["plain", "constructor", "__proto__", "ü"].map((name) => [name, `${name} é`] as const);
      const bytes = Buffer.from([0, 255, 254, 10]);
      const producer = await driver.producer();
      await producer.send(topic, 0, [record(bytes, { key: bytes, headers: sent.flat() }), record("")]);
      await producer.close();
      await using member = await Member.join(driver, `${topic}.g`, topic);
      member.begin(topic, 0, 0);
      await member.until("both records", () => member.got.length === 2);
      const [first, second] = member.got;
      assert.deepEqual([first!.key, first!.value], [bytes, bytes]);
      assert.deepEqual([second!.key, second!.value?.length], [null, 0]);
      for (const [name, text] of sent) {
        // What comes before it may be the driver's; the sender's is bytes, and last.
        const value = [Object.getOwnPropertyDescriptor(first!.headers, name)?.value].flat().at(-1) as unknown;
        // kafkajs sets this one as what it means to a plain object: it cannot be told from none.
        if (name !== "__proto__") assert.equal(Buffer.from(value as Uint8Array).toString(), text);
      }
    },
  },
  {
    name: "a batch that is larger than its topic takes is rejected after one attempt, definitely, and what comes next is taken",
    async run(rig) {
      const topic = await made(rig, 1, { "max.message.bytes": "10000" });
      const producer = await rig.driver(rig.node.direct).producer();
      const large = Array.from({ length: 3 }, () => record(Buffer.alloc(6_000, "x")));
      await assert.rejects(producer.send(topic, 0, large), (thrown) => {
        assert(thrown instanceof SendFailure);
        assert.equal(thrown.attempts, 1);
        assert.equal(rejection(thrown, topic).kind, "too-large");
        return true;
      });
      assert.deepEqual(await producer.send(topic, 0, large.slice(0, 1)), [{ partition: 0, errorCode: 0, offset: 0 }]);
      await producer.close();
    },
  },
  {
    name: "a batch whose answer is lost is repeated in place, and is in the log once",
    async run(rig) {
      const topic = await made(rig, 1);
      const { proxy } = rig.node;
      const producer = await rig.driver(rig.node.proxied).producer();
      await producer.send(topic, 0, [record("before")]);
      proxy.halfOpen("broker");
      const sending = producer.send(topic, 0, [record("a"), record("b")]);
      try {
        // It has arrived; its answer goes down with the connection.
        await high(rig, topic, 3);
        proxy.cut();
      } finally {
        await proxy.heal();
      }
      const answer = await sending;
      assert.deepEqual([answer.length, answer[0]?.partition, answer[0]?.errorCode], [1, 0, 0]);
      await producer.send(topic, 0, [record("after")]);
      await producer.close();
      await high(rig, topic, 4);
    },
  },
  {
    name: "what is out when a producer is closed rejects, and is not sent again",
    async run(rig) {
      const topic = await made(rig, 1);
      const { proxy } = rig.node;
      const producer = await rig.driver(rig.node.proxied).producer();
      await producer.send(topic, 0, [record("before")]);
      proxy.halfOpen("client");
      const sending = producer.send(topic, 0, [record("a")]);
      const rejected = assert.rejects(sending, SendFailure);
      try {
        const closing = producer.close();
        proxy.cut();
        await proxy.heal();
        await rejected;
        await closing;
      } finally {
        await proxy.heal();
      }
      await high(rig, topic, 1);
    },
  },
  {
    name: "topics are made with what was asked for; those that exist stay as they are, and those that do not are in no answer",
    async run(rig) {
      const topic = await made(rig, 3, { "max.message.bytes": "54321" });
      await withAdmin(rig.driver(rig.node.direct), async (admin) => {
        assert.deepEqual(await admin.brokers(), [1]);
        await admin.create([{ name: topic, partitions: 7, replicationFactor: 1, config: {} }]);
        assert.deepEqual(await admin.partitions([topic, `${topic}-nowhere`]), new Map([[topic, 3]]));
        assert.deepEqual(await admin.settings(topic, ["max.message.bytes"]), new Map([["max.message.bytes", "54321"]]));
      });
    },
  },
  {
    name: "where a topic's replicas are is told, of one that is not there that it is not; a broker tells its settings",
    async run(rig) {
      const topic = await made(rig, 2);
      await withAdmin(rig.driver(rig.node.direct), async (admin) => {
        const one = { replicas: [1], inSync: [1] };
        const found = [...((await admin.replicas(topic)) ?? [])].toSorted((a, b) => a.partition - b.partition);
        assert.deepEqual(found, [
          { partition: 0, ...one },
          { partition: 1, ...one },
        ]);
        assert.equal(await admin.replicas(`${topic}-nowhere`), null);
        const asked = await admin.brokerSettings(1, ["auto.create.topics.enable"]);
        assert.deepEqual(asked, new Map([["auto.create.topics.enable", "false"]]));
      });
    },
  },
  {
    name: "the first message that is no older than a time, or the end",
    async run(rig) {
      const topic = await made(rig, 2);
      const driver = rig.driver(rig.node.direct);
      const producer = await driver.producer();
      await producer.send(topic, 0, [record("0")]);
      const between = Date.now() + 1;
      while (Date.now() <= between);
      await producer.send(topic, 0, [record("1")]);
      await producer.close();
      await withAdmin(driver, async (admin) => {
        const since = async (time: number) =>
          [...(await admin.since(topic, time))]
            .toSorted((a, b) => a.partition - b.partition)
            .map(({ offset }) => offset);
        assert.deepEqual(await since(0), [0, 0]);
        assert.deepEqual(await since(between), [1, 0]);
        assert.deepEqual(await since(between + 3_600_000), [2, 0]);
      });
    },
  },
];

/** The log of partition 0 ends there, and not beyond. */
async function high(rig: Parameters<DriverCase["run"]>[0], topic: string, expected: number): Promise<void> {
  await stranger(rig, async (admin) => {
    for (let at = 0, end = performance.now() + 20_000; at !== expected;) {
      at = Number((await admin.fetchTopicOffsets(topic))[0]!.high);
      assert(at <= expected, `the log ends at ${at}, not at ${expected}`);
      assert(performance.now() < end, `the log ends at ${at} still, not at ${expected}`);
    }
  });
}
