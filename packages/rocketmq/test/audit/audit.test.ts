import { ORDERS } from "@tallymq/testkit/port";
import { expect, it } from "vitest";
import { FakeCluster } from "../fake-cluster.ts";
import { FakeDriver, ORDERED, SIGNAL } from "../fake-driver.ts";

const PUBLISHED = { topic: ORDERS, group: null, holdsMs: 0, attempts: 0, outboxMs: 0, remembersMs: null };
const CONSUMED = {
  topic: { ...ORDERED, groups: [] },
  group: "g",
  holdsMs: 1_000,
  attempts: 16,
  outboxMs: 0,
  remembersMs: null,
};

async function audited(cluster: FakeCluster | null, subjects = [PUBLISHED, CONSUMED], declared = true) {
  const transport = new FakeDriver().transport({}, cluster?.cluster() ?? null);
  if (declared && cluster !== null) {
    await transport.admin.declare([ORDERS], SIGNAL);
    await transport.admin.declare([{ ...ORDERED, groups: ["g"] }], SIGNAL);
    // As a consumer of it has it made.
    const events = { deliver() {}, revoked() {}, unsettled() {}, gap() {}, lost() {}, surfaced() {} };
    const revoking = (): Promise<void> => Promise.resolve();
    const subscription = { topic: CONSUMED.topic, group: "g", credit: 1, consumer: "c" };
    const receiver = await transport.openReceiver(subscription, { ...events, revoking }, SIGNAL);
    await receiver[Symbol.asyncDispose]();
  }
  return await transport.audit.look(subjects, SIGNAL);
}

const texts = (findings: Awaited<ReturnType<typeof audited>>): readonly string[] =>
  findings.map(({ check, severity, what }) => `${check} ${severity} ${what}`);

function wellKept(): FakeCluster {
  const cluster = new FakeCluster();
  Object.assign(cluster.settings, {
    ...{ brokerRole: "SYNC_MASTER", inSyncReplicas: "2", cleanFileForciblyEnable: "false", transactionCheckMax: "120" },
  });
  return cluster;
}

it("finds nothing in a cluster that is well, with topics and groups as they were made", async () => {
  expect(texts(await audited(wellKept()))).toEqual([]);
});

it("looks at each topic that is published to or consumed, its copies' and delays' too, and at each group", async () => {
  const cluster = wellKept();
  const findings = await audited(cluster, undefined, false);
  expect(texts(findings)).toEqual([
    ...["orders", "orders_billing_copies", "steps", "steps_later", "steps_g_copies"].map(
      (name) => `topic-missing error topic "${name}"`,
    ),
    ...["orders_billing", "steps_g"].map((name) => `group-missing warning group "${name}"`),
  ]);
  expect(cluster.made).toEqual([]);
});

it("finds how a broker flushes, replicates and deletes, and which version it is", async () => {
  const cluster = wellKept();
  Object.assign(cluster.settings, { inSyncReplicas: "1", cleanFileForciblyEnable: "true", fileReservedTime: "2" });
  cluster.flush = "ASYNC_FLUSH";
  cluster.version = "V5_3_1";
  expect(texts(await audited(cluster, []))).toEqual(
    ["flush error", "replicas warning", "version error", "disk-full warning", "retention warning"].map(
      (found) => `${found} broker "broker-a"`,
    ),
  );
});

it("asks controllers by the addresses that the broker has", async () => {
  const cluster = wellKept();
  Object.assign(cluster.settings, {
    ...{ enableControllerMode: "true", allAckInSyncStateSet: "true", minInSyncReplicas: "2" },
    controllerAddr: "127.0.0.1:9878;127.0.0.1:9879",
  });
  expect(texts(await audited(cluster, []))).toEqual([]);
  cluster.controller["enableElectUncleanMaster"] = "true";
  expect(texts(await audited(cluster, []))).toEqual(['controller error broker "broker-a"']);
  cluster.away.add(9_878).add(9_879);
  expect(texts(await audited(cluster, []))).toEqual(["names info rocketmq", 'controller info broker "broker-a"']);
});

it("says unverifiable where ports are closed, and shows no setting that may be a secret", async () => {
  const cluster = wellKept();
  cluster.away.add(10_911);
  const findings = await audited(cluster, undefined, false);
  expect(findings.every(({ severity }) => severity === "info")).toBe(true);
  expect(texts(findings)).toContain('flush info broker "broker-a"');
  expect(texts(findings)).toContain(
    'topic-missing info topic "orders", topic "orders_billing_copies", topic "steps", topic "steps_later", topic "steps_g_copies"',
  );
  cluster.away.add(9_876);
  expect((await audited(cluster, undefined, false)).every(({ severity }) => severity === "info")).toBe(true);
  expect((await audited(null)).every(({ severity }) => severity === "info")).toBe(true);
  cluster.away.clear();
  cluster.flush = "s3cret";
  expect(JSON.stringify(await audited(cluster))).not.toContain("aclSecret");
});
