// One broker that checks rights: each finding of the audit on topics that are broken in that way, and its fix, typed in.
import {
  type AuditReport,
  openTally,
  type Tally,
  TallyError,
  type TallyOptions,
  type Topic,
  topic,
} from "@tallymq/core";
import { kafka, type KafkaOptions } from "@tallymq/kafka";
import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  type Admin,
  Kafka,
  logLevel,
  ResourcePatternTypes,
} from "kafkajs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { authority, type KafkaNode, startKafka } from "../brokers/index.ts";
import { passwordFor } from "../brokers/kafka/secure.ts";
import { typed } from "./typed.ts";

const ours = authority("ours");
const PASSWORD = "canary-4711-s3cret";

let node: KafkaNode;
let client: Kafka;
let admin: Admin;
let names = 0;

beforeAll(async () => {
  const identity = ours.issue({ name: "broker", hosts: ["127.0.0.1", "localhost"] });
  node = await startKafka({
    secure: { identity, clientsOf: ours.cert, username: "shop", password: PASSWORD },
    // Whoever comes without a name may do everything, and `shop` nothing that is not granted.
    config: `
auto.create.topics.enable=true
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
`,
  });
  client = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING });
  admin = client.admin();
  await admin.connect();
});
afterAll(async () => {
  await admin.disconnect();
  await node.stop();
});

type Orders = Topic<number>;
const fresh = (): Orders => topic<number>(`audited-${++names}`, { groups: ["g"] });

/** What somebody else has made, with these settings. */
async function make({ name }: Orders, settings: Readonly<Record<string, string>> = {}): Promise<void> {
  const configEntries = Object.entries(settings).map(([setting, value]) => ({ name: setting, value }));
  await admin.createTopics({ topics: [{ topic: name, numPartitions: 1, configEntries }], waitForLeaders: true });
}

async function open(
  orders: Orders,
  options: Partial<KafkaOptions> = {},
  tally: Partial<TallyOptions> = {},
): Promise<Tally<never>> {
  const broker = kafka({
    brokers: [node.direct],
    partitions: 1,
    topics: { [orders.name]: { declare: false } },
    ...options,
  });
  return (await openTally({ service: "shop", broker, topics: [orders], ...tally })) as Tally<never>;
}

/** Of this topic and its group; that whoever asks makes topics here is no news. */
function found({ findings }: AuditReport): readonly string[] {
  return findings
    .filter(({ severity, check }) => severity !== "info" && check !== "auto-create")
    .map(({ check, severity }) => `${check} ${severity}`);
}

async function errorOf(work: Promise<unknown>): Promise<TallyError> {
  const thrown = await work.then(
    () => null,
    (e: unknown) => e,
  );
  if (!TallyError.is(thrown)) throw new Error(`no TallyError: ${String(thrown)}`);
  return thrown;
}

const BROKEN = {
  "cleanup.policy": "compact,delete",
  "max.message.bytes": "1000",
  "retention.ms": "30000",
  "retention.bytes": "100000",
  "unclean.leader.election.enable": "true",
};
const FOUND = [
  "cleanup-policy error",
  "message-bytes warning",
  "retention error",
  "retention-bytes warning",
  "unclean-election error",
];

describe("each finding, on a topic that is broken in that way", () => {
  it("what Tally makes by itself is without errors and warnings; one broker is told, and that topics are made by asking", async () => {
    const orders = fresh();
    await using tally = await open(orders, { topics: {} });
    await using _g = await tally
      .consumer("g")
      .on(orders, () => {})
      .start();
    const report = await tally.audit();
    expect(found(report)).toEqual([]);
    expect(report.findings.map(({ check, severity }) => `${check} ${severity}`)).toEqual([
      "auto-create warning",
      ...[orders.name, `${orders.name}.g.copies`].map(() => "replication-factor info"),
    ]);
  });

  it.each(Object.entries(BROKEN))("%s=%s, and nothing else", async (setting, value) => {
    const orders = fresh();
    await make(orders, { "max.message.bytes": "2000000", [setting]: value });
    await using tally = await open(orders);
    await using _g = await tally
      .consumer("g", { processingDeadline: "60s" })
      .on(orders, () => {})
      .start();
    expect(found(await tally.audit())).toEqual([FOUND[Object.keys(BROKEN).indexOf(setting)]]);
  });

  it("each fix, typed in as it stands, mends what it is for", async () => {
    const orders = fresh();
    await make(orders, BROKEN);
    await using tally = await open(orders);
    await using _g = await tally
      .consumer("g")
      .on(orders, () => {})
      .start();
    const before = await tally.audit();
    expect(found(before).toSorted()).toEqual(FOUND);
    for (const { fix, check } of before.findings)
      if (FOUND.some((one) => one.startsWith(`${check} `))) await typed(node, fix, node.direct);
    expect(found(await tally.audit())).toEqual([]);
  });

  it("what is missing is found, and not made by looking, though this broker makes what is asked for", async () => {
    const orders = fresh();
    await make(orders, { "max.message.bytes": "2000000" });
    await using tally = await open(orders);
    await admin.deleteTopics({ topics: [orders.name] });
    await expect.poll(async () => found(await tally.audit()), { timeout: 10_000 }).toEqual(["topic-missing error"]);
    expect(await admin.listTopics()).not.toContain(orders.name);
  });

  it("messages that are gone before the group had them, and such as are about to be", async () => {
    const orders = fresh();
    await make(orders, { "max.message.bytes": "2000000" });
    const producer = client.producer();
    await producer.connect();
    const [now, day] = [Date.now(), 86_400_000];
    const send = (...ages: readonly number[]) =>
      producer.send({
        topic: orders.name,
        messages: ages.map((age) => ({ value: "1", timestamp: String(now - age * day) })),
      });
    await send(5, 4, 1);
    await admin.setOffsets({
      groupId: `${orders.name}.g`,
      topic: orders.name,
      partitions: [{ partition: 0, offset: "1" }],
    });
    await using tally = await open(orders);
    const report = await tally.audit();
    expect(found(report)).toEqual(["group-lag warning"]);
    expect(report.findings[0]!.text).toContain(`2 messages are not settled, and in ${orders.name}/0`);
    await admin.setOffsets({
      groupId: `${orders.name}.g`,
      topic: orders.name,
      partitions: [{ partition: 0, offset: "2" }],
    });
    expect(found(await tally.audit())).toEqual([]);
    await admin.fetchTopicOffsets(orders.name);
    await admin.deleteTopicRecords({ topic: orders.name, partitions: [{ partition: 0, offset: "3" }] });
    expect(found(await tally.audit())).toEqual(["group-gap error"]);
    await producer.disconnect();
  });
});

describe("a user with the rights to publish and to consume, and no others", () => {
  it("is told what it could not see, each with the right that is missing; publishing goes on", async () => {
    const orders = fresh();
    await make(orders, { "max.message.bytes": "2000000", "retention.bytes": "100000" });
    const allow = (resourceType: AclResourceTypes, resourceName: string, operation: AclOperationTypes) => ({
      resourceType,
      resourceName,
      operation,
      resourcePatternType: ResourcePatternTypes.PREFIXED,
      principal: "User:shop",
      host: "*",
      permissionType: AclPermissionTypes.ALLOW,
    });
    await admin.createTopics({ topics: [{ topic: `${orders.name}.g.copies` }], waitForLeaders: true });
    await admin.createAcls({
      acl: [
        allow(AclResourceTypes.TOPIC, orders.name, AclOperationTypes.READ),
        allow(AclResourceTypes.TOPIC, orders.name, AclOperationTypes.WRITE),
        allow(AclResourceTypes.GROUP, orders.name, AclOperationTypes.READ),
      ],
    });
    const mechanism = "scram-sha-256";
    const sasl = { mechanism, username: "shop", password: passwordFor(mechanism, PASSWORD) } as const;
    const broker: Partial<KafkaOptions> = {
      brokers: [node.login],
      tls: { ca: ours.cert },
      sasl,
      declare: "passive",
      topics: {},
    };
    await using tally = await open(orders, broker, { durability: "enforce" });
    await tally.publish(orders, 1);
    const { findings } = await tally.audit();
    const unseen = findings.filter(({ text }) => text.startsWith("unverifiable")).map(({ check }) => check);
    expect(unseen).toEqual(
      expect.arrayContaining(["unclean-election", "cleanup-policy", "retention", "message-bytes", "auto-create"]),
    );
    expect(found({ at: 0, status: "ok", findings })).toEqual([]);
    const { fix } = findings.find(({ check }) => check === "retention")!;
    expect(fix).toContain("--operation DescribeConfigs");
    // Somebody does as it says.
    await typed(node, fix.replace("<you>", "shop"), node.login);
    expect(found(await tally.audit())).toEqual(["retention-bytes warning"]);
  });
});

describe('durability: "enforce"', () => {
  it("openTally() and a consumer's start() are refused, with all errors and their fixes; nothing was begun", async () => {
    const orders = fresh();
    await make(orders, BROKEN);
    const error = await errorOf(open(orders, {}, { durability: "enforce" }));
    expect(error).toMatchObject({ code: "unsafe", retryable: false });
    expect(error.message).toContain("refuses these 2: 1. unclean-election: topic");
    expect(error.message).toContain(`--entity-name ${orders.name} --add-config cleanup.policy=delete`);
    await using tally = await open(orders, {}, { durability: "enforce", topics: [] });
    const seen: number[] = [];
    const starting = tally
      .consumer("g")
      .on(orders, (n) => void seen.push(n))
      .start();
    expect(await errorOf(starting)).toMatchObject({ code: "unsafe" });
    expect(seen).toEqual([]);
  });

  it("what Tally makes by itself starts", async () => {
    const orders = fresh();
    await using tally = await open(orders, { topics: {} }, { durability: "enforce" });
    await using _g = await tally
      .consumer("g")
      .on(orders, () => {})
      .start();
  });
});
