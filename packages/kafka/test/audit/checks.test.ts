import type { AuditFinding } from "@tallymq/core/spi";
import { describe, expect, it } from "vitest";
import { CHECKS } from "../../src/audit/checks.ts";
import { judge } from "../../src/audit/judge.ts";
import type { GroupPartition, PartitionState, TopicState, World } from "../../src/audit/world.ts";

const DAY = 86_400_000;
const SETTINGS = {
  "min.insync.replicas": "2",
  "unclean.leader.election.enable": "false",
  "retention.ms": String(7 * DAY),
  "retention.bytes": "-1",
  "max.message.bytes": "1200000",
  "cleanup.policy": "delete",
};

/** Everything is well; the test breaks one thing. */
function topic(given: Partial<TopicState> = {}): TopicState {
  return {
    name: "orders",
    purpose: "own",
    partitions: [0, 1].map((partition) => ({ partition, replicas: [1, 2, 3], inSync: [1, 2, 3] })),
    settings: new Map(Object.entries(SETTINGS)),
    holdsMs: 60_000,
    outboxMs: 7 * DAY,
    remembersMs: 8 * DAY,
    ...given,
  };
}

function world(given: Partial<World> = {}): World {
  return {
    destination: "kafka",
    bootstrap: "a:9092,b:9092",
    brokers: [1, 2, 3],
    autoCreate: false,
    messageBytes: 1_000_000,
    batchBytes: 1_100_000,
    topics: [topic()],
    groups: [{ name: "orders.billing", partitions: [group()] }],
    ...given,
  };
}

function group(given: Partial<GroupPartition> = {}): GroupPartition {
  return { topic: "orders", partition: 0, committed: 50, beyond: 0, low: 0, high: 60, halfKept: 40, ...given };
}

const of = (given: Partial<TopicState>, more: Partial<World> = {}): World => world({ ...more, topics: [topic(given)] });
const set = (settings: object, given: Partial<TopicState> = {}): World =>
  of({ settings: new Map(Object.entries({ ...SETTINGS, ...settings })), ...given });
const placed = (...replicas: readonly (readonly number[])[]): readonly PartitionState[] =>
  replicas.map((each, partition) => ({ partition, replicas: each, inSync: each }));
const behind = (given: Partial<GroupPartition>): World =>
  world({ groups: [{ name: "orders.billing", partitions: [group(given)] }] });

const shown = ({ check, severity, text }: AuditFinding): string => `${check} ${severity}: ${text}`;

describe("each finding, from a described cluster", () => {
  const table: readonly (readonly [string, World, readonly string[]])[] = [
    ["all is well", world(), []],
    ["a topic is missing", of({ partitions: null }), ["topic-missing error: it is not there"]],
    [
      "a topic for copies is missing",
      of({ partitions: null, purpose: "copies" }),
      ["topic-missing error: it is not there"],
    ],
    ["nothing was dead-lettered yet", of({ partitions: null, purpose: "letters" }), []],
    ["nothing was delayed yet", of({ partitions: null, purpose: "delays" }), []],
    [
      "every replica of a partition is down",
      of({ partitions: "leaderless" }),
      ["leader warning: some of its partitions have none"],
    ],
    [
      "one replica, and there are brokers for more",
      of({ partitions: placed([1], [2, 3, 1]) }),
      ["replication-factor error: 1 of its 2 partitions have one replica"],
    ],
    [
      "one replica, and one broker",
      of({ partitions: placed([1], [1]) }, { brokers: [1] }),
      ["replication-factor info: 2 of its 2 partitions have one replica: the cluster has one broker"],
    ],
    [
      "a replica that is behind",
      of({ partitions: [{ partition: 0, replicas: [1, 2, 3], inSync: [1, 3] }] }),
      ["in-sync warning: 1 of its 1 partitions lack a replica"],
    ],
    ["one is enough", set({ "min.insync.replicas": "1" }), ["min-insync-replicas error: it is 1, of 3 replicas"]],
    [
      "one is enough, of two",
      set({ "min.insync.replicas": "1" }, { partitions: placed([1, 2]) }),
      ["min-insync-replicas error: it is 1, of 2 replicas"],
    ],
    [
      "all of them are needed",
      set({ "min.insync.replicas": "3" }),
      ["min-insync-replicas warning: it is 3, of 3 replicas: one broker that is away stops publishing"],
    ],
    ["an unclean election", set({ "unclean.leader.election.enable": "true" }), ["unclean-election error: one may"]],
    [
      "compaction",
      set({ "cleanup.policy": "compact" }),
      [
        "cleanup-policy error: it is compact",
        "retention-inbox warning: messages are kept for ever, and the inbox remembers for 8d",
      ],
    ],
    ["compaction too", set({ "cleanup.policy": "compact,delete" }), ["cleanup-policy error: it is compact,delete"]],
    [
      "a retention below the outbox's age",
      set({ "retention.ms": String(3 * 3_600_000) }),
      ["retention warning: messages are kept for 3h, and the outbox may have waited for 7d"],
    ],
    ["the same without an outbox", set({ "retention.ms": String(3 * 3_600_000) }, { outboxMs: 0 }), []],
    [
      "a retention that handlers outlast",
      set({ "retention.ms": "60000" }),
      ["retention error: messages are kept for 1m, and handlers may take 1m for one"],
    ],
    [
      "dead letters that are deleted",
      set({}, { purpose: "letters", outboxMs: 0, remembersMs: null }),
      ["retention warning: messages are kept for 7d, and dead letters wait for a person"],
    ],
    [
      "delayed messages that are deleted",
      set({}, { purpose: "delays", outboxMs: 0, remembersMs: null }),
      ["retention error: messages are kept for 7d, and delayed ones wait here for up to 12 days"],
    ],
    [
      "a bound on a partition",
      set({ "retention.bytes": "1000" }),
      ["retention-bytes warning: a partition holds at most 1000 bytes"],
    ],
    [
      "an inbox that forgets first",
      set({ "retention.ms": String(30 * DAY) }),
      ["retention-inbox warning: messages are kept for 30d, and the inbox remembers for 8d"],
    ],
    [
      "messages for ever",
      set({ "retention.ms": "-1" }),
      ["retention-inbox warning: messages are kept for ever, and the inbox remembers for 8d"],
    ],
    ["messages for ever, and no inbox", set({ "retention.ms": "-1" }, { remembersMs: null }), []],
    [
      "messages for ever, and an inbox that forgets nothing",
      set({ "retention.ms": "-1" }, { remembersMs: Infinity }),
      [],
    ],
    [
      "a message that does not fit",
      set({ "max.message.bytes": "999999" }),
      ["message-bytes warning: it takes 999999 bytes, and the largest message may have 1000000 with its headers"],
    ],
    [
      "a batch that does not fit",
      set({ "max.message.bytes": "1050000" }),
      [
        "message-bytes info: it takes 1050000 bytes, and a batch may have 1100000: one that has is refused, and goes in halves",
      ],
    ],
    ["messages that are gone", behind({ low: 55 }), ["group-gap error: messages 50 to 54 of orders/0 are gone"]],
    ["a topic made anew", behind({ high: 3 }), ["group-gap error: orders/0 ends at 3, before the group's offset 50"]],
    ["a group without a commit", behind({ committed: null, low: 20, high: 60, halfKept: 20 }), []],
    [
      "a group that is too far behind",
      behind({ committed: 30, beyond: 2 }),
      [
        "group-lag warning: 28 messages are not settled, and in orders/0 the oldest of them have used up half of the retention",
      ],
    ],
    ["one that is behind, and nothing is deleted", behind({ committed: 30, halfKept: null }), []],
    ["many messages", behind({ high: 10_050 }), ["group-lag info: 10000 messages are not settled"]],
    [
      "topics that anybody makes",
      world({ autoCreate: true }),
      ["auto-create warning: whoever asks for a topic makes it"],
    ],
  ];
  it.each(table)("%s", (_name, given, expected) => {
    expect(judge(given).map(shown)).toEqual(expected);
  });

  it("each check of the table has a row that finds it", () => {
    const found = new Set(table.flatMap(([, , findings]) => findings.map((text) => text.split(" ")[0]!)));
    expect(CHECKS.map(({ name }) => name).filter((name) => !found.has(name))).toEqual([]);
  });

  it("what may not be seen is one finding a check, not one a topic, never an error, and says which right is missing", () => {
    const topics = Array.from({ length: 7 }, (_, i) => topic({ name: `t${i}`, settings: "hidden" }));
    const settings = judge(world({ topics }));
    expect(settings.length).toBeGreaterThan(5);
    expect(settings.every(({ severity, text }) => severity === "info" && text.startsWith("unverifiable"))).toBe(true);
    expect(settings[0]!.what).toBe('topic "t0", topic "t1", topic "t2", topic "t3", topic "t4" and 2 more');
    expect(settings[0]!.fix).toBe(
      "kafka-acls --bootstrap-server a:9092,b:9092 --add --allow-principal User:<you> --operation Describe --operation DescribeConfigs --topic t0",
    );
    const nothing = judge(
      world({
        topics: [topic({ partitions: "hidden", settings: "hidden" })],
        groups: [{ name: "g", partitions: "hidden" }],
        autoCreate: "hidden",
      }),
    );
    // Whether a leader is there nobody can say who may not see the topic, and that is said already.
    expect(nothing.map(({ check }) => check)).toEqual(
      CHECKS.map(({ name }) => name).filter((name) => name !== "leader"),
    );
    expect(nothing.every(({ severity }) => severity === "info")).toBe(true);
  });

  it("the fix can be typed as it stands", () => {
    const [one] = judge(set({ "min.insync.replicas": "1" }));
    expect(one!.fix).toBe(
      "kafka-configs --bootstrap-server a:9092,b:9092 --alter --entity-type topics --entity-name orders --add-config min.insync.replicas=2",
    );
    const [more] = judge(of({ partitions: placed([1], [2]) }));
    const [, json] = /echo '(.*)' > more.json; kafka-reassign-partitions .* --execute$/.exec(more!.fix)!;
    expect(JSON.parse(json!)).toEqual({
      version: 1,
      partitions: [
        { topic: "orders", partition: 0, replicas: [1, 2, 3] },
        { topic: "orders", partition: 1, replicas: [2, 3, 1] },
      ],
    });
    const many = judge(of({ partitions: placed(...Array.from({ length: 30 }, () => [1])) }));
    expect(many[0]!.fix).toMatch(/, and so on for its other 6 partitions$/);
  });
});
