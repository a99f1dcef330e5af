import assert from "node:assert/strict";
import type { DriverCase, DriverRig } from "./case.ts";
import { LIMITS } from "./case.ts";
import { gzipped, made, Member, record, stranger, withAdmin } from "./tools.ts";

export const receivingCases: readonly DriverCase[] = [
  {
    name: "nothing is fetched of a partition until it has been sought and resumed; then all from there, in order",
    async run(rig) {
      const topic = await filled(rig, 20, 2);
      const driver = rig.driver(rig.node.direct);
      await using member = await Member.join(driver, `${topic}.g`, topic);
      assert.deepEqual(member.partitions, [0, 1]);
      // Of the other one, which is not sought, a fetch in each of these would have come.
      member.begin(topic, 1, 5);
      await member.until("fifteen records", () => member.got.length >= 15);
      const { alive } = member;
      await member.until("three more signs of life", () => member.alive >= alive + 3);
      assert.deepEqual(member.strayed, []);
      assert.deepEqual(
        member.got.map(({ partition, offset, value }) => [partition, offset, String(value)]),
        Array.from({ length: 15 }, (_, n) => [1, n + 5, String(n + 5)]),
      );
    },
  },
  {
    name: "a partition that is paused brings nothing; resumed it goes on, and sought it comes again",
    async run(rig) {
      const topic = await filled(rig, 3, 1);
      const driver = rig.driver(rig.node.direct);
      await using member = await Member.join(driver, `${topic}.g`, topic);
      member.begin(topic, 0, 0);
      await member.until("what is there", () => member.got.length === 3);
      member.consumer.pause(topic, 0);
      const producer = await driver.producer();
      await producer.send(topic, 0, [record("3")]);
      await producer.close();
      const { alive } = member;
      await member.until("three signs of life", () => member.alive >= alive + 3);
      assert.deepEqual(member.offsets, [0, 1, 2]);
      member.consumer.resume(topic, 0);
      await member.until("the fourth", () => member.got.length === 4);
      member.begin(topic, 0, 1);
      await member.until("three again", () => member.got.length === 7);
      assert.deepEqual(member.offsets, [0, 1, 2, 3, 1, 2, 3]);
    },
  },
  {
    name: "a partition that is resumed is fetched soon, also if a fetch may wait for long",
    async run(rig) {
      const topic = await filled(rig, 3, 1);
      const wait = 1_500;
      await using member = await Member.join(rig.driver(rig.node.direct, wait), `${topic}.g`, topic);
      member.begin(topic, 0, 0);
      await member.until("what is there", () => member.got.length === 3);
      member.consumer.pause(topic, 0);
      member.consumer.seek(topic, 0, 0);
      const { alive } = member;
      await member.until("a look at what is paused", () => member.alive >= alive + 3);
      const resumed = performance.now();
      member.consumer.resume(topic, 0);
      await member.until("all again", () => member.got.length === 6);
      assert(performance.now() - resumed < wait / 2, "it waited as long as a fetch");
    },
  },
  {
    name: "nothing is committed but what is committed, with its metadata",
    async run(rig) {
      const topic = await filled(rig, 10, 2);
      const driver = rig.driver(rig.node.direct);
      const group = `${topic}.g`;
      const member = await Member.join(driver, group, topic);
      member.begin(topic, 0, 0);
      member.begin(topic, 1, 0);
      await member.until("all", () => member.got.length === 20);
      await member.consumer.commit([{ topic, partition: 1, offset: 4, metadata: "done: 7" }]);
      await member.consumer.close();
      await withAdmin(driver, async (admin) => {
        const committed = await admin.committed(group, topic);
        assert.deepEqual(
          committed.toSorted((a, b) => a.partition - b.partition),
          [
            { partition: 0, offset: null, metadata: "" },
            { partition: 1, offset: 4, metadata: "done: 7" },
          ],
        );
        assert.deepEqual(
          (await admin.ranges(topic)).toSorted((a, b) => a.partition - b.partition),
          [0, 1].map((partition) => ({ partition, low: 0, high: 10 })),
        );
      });
    },
  },
  {
    name: "each partition is one member's; who comes and goes is told by a new assignment",
    async run(rig) {
      const topic = await made(rig, 4);
      const driver = rig.driver(rig.node.direct);
      await using first = await Member.join(driver, `${topic}.g`, topic);
      assert.deepEqual(first.partitions, [0, 1, 2, 3]);
      const second = await Member.join(driver, `${topic}.g`, topic);
      await first.until("two each", () => first.partitions.length === 2 && second.partitions.length === 2);
      assert.deepEqual([...first.partitions, ...second.partitions].toSorted(), [0, 1, 2, 3]);
      await second.consumer.close();
      await first.until("all again", () => first.partitions.length === 4);
    },
  },
  {
    name: "heartbeats go on while nobody deals with what was fetched: two session time-outs later it is still a member",
    async run(rig) {
      const topic = await filled(rig, 5, 1);
      const driver = rig.driver(rig.node.direct);
      await using member = await Member.join(driver, `${topic}.g`, topic);
      member.begin(topic, 0, 0);
      await member.until("its records", () => member.got.length === 5);
      const over = performance.now() + 2 * LIMITS.session;
      await member.until("two session time-outs", () => performance.now() > over);
      await member.consumer.commit([{ topic, partition: 0, offset: 1, metadata: "" }]);
      assert.equal(member.assignments.length, 1);
    },
  },
  {
    name: "a member that was silent for too long commits nothing any more",
    async run(rig) {
      const topic = await filled(rig, 5, 1);
      const group = `${topic}.g`;
      const { proxy } = rig.node;
      await using silent = await Member.join(rig.driver(rig.node.proxied), group, topic);
      silent.begin(topic, 0, 0);
      await silent.until("its records", () => silent.got.length === 5);
      proxy.halfOpen("both");
      try {
        await using other = await Member.join(rig.driver(rig.node.direct), group, topic);
        await other.until("the partition", () => other.partitions.length === 1);
        const late = silent.consumer.commit([{ topic, partition: 0, offset: 5, metadata: "" }]).then(
          () => "taken",
          () => "refused",
        );
        // Its group is told first of what was held: the commit is of a generation that is over.
        await proxy.heal();
        assert.equal(await late, "refused");
        await withAdmin(rig.driver(rig.node.direct), async (admin) =>
          assert.deepEqual(await admin.committed(group, topic), [{ partition: 0, offset: null, metadata: "" }]),
        );
      } finally {
        await proxy.heal();
      }
    },
  },
  {
    name: "where what was sought is gone the partition has strayed: nothing of it comes until it is sought anew",
    async run(rig) {
      const topic = await filled(rig, 10, 1);
      await stranger(rig, async (admin) => {
        // Without this it does not know the topic.
        await admin.fetchTopicOffsets(topic);
        await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "6" }] });
      });
      await using member = await Member.join(rig.driver(rig.node.direct), `${topic}.g`, topic);
      member.begin(topic, 0, 2);
      await member.until("a word of it", () => member.strayed.length > 0);
      const { alive } = member;
      await member.until("three signs of life", () => member.alive >= alive + 3);
      assert.deepEqual([member.strayed, member.got], [[`${topic}/0`], []]);
      member.begin(topic, 0, 6);
      await member.until("the rest", () => member.got.length === 4);
      assert.deepEqual(member.offsets, [6, 7, 8, 9]);
    },
  },
  {
    name: "a compressed batch is read; one that becomes too much comes as records that say so, and the next ones are read",
    async run(rig) {
      const topic = await made(rig, 1);
      const large = Buffer.alloc(LIMITS.inflated / 2);
      await gzipped(rig, topic, [Buffer.from("a"), Buffer.from("b")]);
      await gzipped(rig, topic, [large, large, large]);
      await gzipped(rig, topic, [Buffer.from("c")]);
      await using member = await Member.join(rig.driver(rig.node.direct), `${topic}.g`, topic);
      member.begin(topic, 0, 0);
      await member.until("six records", () => member.got.length >= 6);
      assert.deepEqual(member.offsets, [0, 1, 2, 3, 4, 5]);
      assert.deepEqual(
        member.got.map(({ unreadable }) => unreadable !== null),
        [false, false, true, true, true, false],
      );
      assert.match(member.got[2]!.unreadable!, /gzip/);
      assert.deepEqual(
        member.got.map(({ value }) => value!.length > 0),
        [true, true, true, false, false, true],
      );
    },
  },
  {
    name: "what members of a group show can be read once it has settled; strangers, and members that are gone, show nothing",
    async run(rig) {
      const topic = await made(rig, 2);
      const driver = rig.driver(rig.node.direct);
      const group = `${topic}.g`;
      await withAdmin(driver, async (admin) => {
        const shown = async (...cards: readonly string[]): Promise<void> => {
          for (const end = performance.now() + 20_000; ;) {
            const found = await admin.members(group);
            if (found.settled && found.cards.toSorted().join() === cards.join()) return;
            assert(performance.now() < end, `shown are ${JSON.stringify(found)}, not ${cards.join()}`);
          }
        };
        await shown();
        const first = await Member.join(driver, group, topic, "one");
        await shown("one");
        await using _second = await Member.join(driver, group, topic, "two – ✓");
        await using _silent = await Member.join(driver, group, topic);
        await shown("one", "two – ✓");
        await first.consumer.close();
        await shown("two – ✓");
      });
    },
  },
  {
    name: "a member that is closed says nothing more",
    async run(rig) {
      const topic = await filled(rig, 5, 1);
      const driver = rig.driver(rig.node.direct);
      const member = await Member.join(driver, `${topic}.g`, topic);
      await member.consumer.close();
      const { alive } = member;
      member.begin(topic, 0, 0);
      await using other = await Member.join(driver, `${topic}.g`, topic);
      other.begin(topic, 0, 0);
      await other.until("its records", () => other.got.length === 5);
      assert.deepEqual([member.got, member.crashes, member.alive], [[], [], alive]);
    },
  },
];

/** So many records in each partition: their offsets. */
async function filled(rig: DriverRig, count: number, partitions: number): Promise<string> {
  const topic = await made(rig, partitions);
  const producer = await rig.driver(rig.node.direct).producer();
  for (let partition = 0; partition < partitions; partition++)
    await producer.send(
      topic,
      partition,
      Array.from({ length: count }, (_, n) => record(String(n))),
    );
  await producer.close();
  return topic;
}
