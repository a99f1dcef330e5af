import type { AuditFinding, AuditSubject } from "@tallymq/core/spi";
import { beforeEach, describe, expect, it } from "vitest";
import { ORDERS } from "@tallymq/testkit/port";
import { FakeDriver, SIGNAL } from "../fake-driver.ts";

let driver: FakeDriver;
beforeEach(() => {
  driver = new FakeDriver();
  for (const name of ["orders", "orders.billing.copies"]) driver.partitions.set(name, 2);
});

const PUBLISHED: AuditSubject = { topic: ORDERS, group: null, holdsMs: 0, attempts: 0, outboxMs: 1, remembersMs: null };
const CONSUMED: AuditSubject = { ...PUBLISHED, group: "billing", holdsMs: 9, attempts: 3, outboxMs: 0 };

async function look(...subjects: readonly AuditSubject[]): Promise<readonly AuditFinding[]> {
  const transport = driver.transport();
  const findings = await transport.audit.look(subjects, SIGNAL);
  await transport[Symbol.asyncDispose]();
  return findings;
}

const denied = (type: string): Promise<never> => Promise.reject(Object.assign(new Error("denied"), { type }));

describe("a look", () => {
  it("is at the topic, at those for copies, dead letters and delays as far as they are there, and at the groups; it makes nothing", async () => {
    driver.partitions.set("orders.billing.dead-letters", 1).set("orders.delays", 25);
    driver.settingsOf = (topic) => (topic.startsWith("orders") ? { "unclean.leader.election.enable": "true" } : {});
    driver.committed.set("orders/1", { partition: 1, offset: 5, metadata: "" });
    driver.ranges.set("orders/1", { partition: 1, low: 7, high: 9 });
    const findings = await look(PUBLISHED, CONSUMED);
    const unclean = findings.filter(({ check }) => check === "unclean-election").map(({ what }) => what);
    expect(unclean.toSorted()).toEqual(
      ["orders", "orders.billing.copies", "orders.billing.dead-letters", "orders.delays"].map(
        (name) => `topic "${name}"`,
      ),
    );
    expect(findings.find(({ check }) => check === "group-gap")).toMatchObject({
      what: 'group "orders.billing"',
      text: "messages 5 to 6 of orders/1 are gone",
    });
    expect(driver.made).toEqual([]);
  });

  it("says what is missing, of what must be there", async () => {
    driver.partitions.clear();
    const findings = await look(CONSUMED);
    expect(findings.filter(({ check }) => check === "topic-missing").map(({ what }) => what)).toEqual([
      'topic "orders"',
      'topic "orders.billing.copies"',
    ]);
  });

  it("is with the eyes of all who use a topic: the slowest handler, the oldest outbox, the most forgetful inbox", async () => {
    const DAY = 86_400_000;
    const found = async (...subjects: readonly AuditSubject[]) =>
      (await look(...subjects))
        .filter(({ what, check }) => what === 'topic "orders"' && check.startsWith("retention"))
        .map(({ check, severity, text }) => `${check} ${severity}: ${text}`);
    const other: AuditSubject = { ...CONSUMED, group: "other" };
    driver.settingsOf = () => ({ "retention.ms": "60000" });
    expect(await found(CONSUMED, { ...other, holdsMs: 60_000 })).toEqual([
      "retention error: messages are kept for 1m, and handlers may take 1m for one",
    ]);
    expect(await found(CONSUMED, { ...PUBLISHED, outboxMs: DAY })).toEqual([
      "retention warning: messages are kept for 1m, and the outbox may have waited for 1d",
    ]);
    driver.settingsOf = () => ({ "retention.ms": String(7 * DAY) });
    expect(await found({ ...CONSUMED, remembersMs: 30 * DAY }, { ...other, remembersMs: DAY })).toEqual([
      "retention-inbox warning: messages are kept for 7d, and the inbox remembers for 1d",
    ]);
  });

  it("at a group asks which messages have used up half of what the topic keeps", async () => {
    driver.settingsOf = () => ({ "retention.ms": "60000" });
    await look(CONSUMED);
    expect(driver.since).toContain(`orders ${driver.clock.wall() - 30_000}`);
  });

  it("goes on where rights end, and says so", async () => {
    driver.denied = (what) => (what === "settings" ? denied("TOPIC_AUTHORIZATION_FAILED") : null);
    const unseen = (findings: readonly AuditFinding[]) =>
      findings.filter(({ text }) => text.startsWith("unverifiable")).map(({ check }) => check);
    expect(unseen(await look(CONSUMED))).toContain("unclean-election");
    driver.denied = (what) => (what === "committed" ? denied("GROUP_AUTHORIZATION_FAILED") : null);
    expect(unseen(await look(CONSUMED))).toEqual(["group-gap", "group-lag"]);
    driver.denied = (what) => (what === "brokerSettings" ? denied("CLUSTER_AUTHORIZATION_FAILED") : null);
    expect(unseen(await look(CONSUMED))).toEqual(["auto-create"]);
    driver.denied = (what) => (what === "replicas" ? denied("TOPIC_AUTHORIZATION_FAILED") : null);
    expect(unseen(await look(CONSUMED))).toContain("topic-missing");
    driver.denied = (what) => (what === "replicas" ? denied("LEADER_NOT_AVAILABLE") : null);
    expect((await look(CONSUMED)).map(({ check }) => check)).toContain("leader");
  });

  it("whose cluster does not answer rejects, and each look has its own client, which is closed", async () => {
    driver.denied = (what) => (what === "replicas" ? denied("REQUEST_TIMED_OUT") : null);
    await expect(look(CONSUMED)).rejects.toMatchObject({ code: "unreachable" });
    expect(driver.admins).toEqual({ opened: 1, closed: 1 });
    driver.denied = () => null;
    await look(CONSUMED);
    expect(driver.admins).toEqual({ opened: 2, closed: 2 });
  });
});
