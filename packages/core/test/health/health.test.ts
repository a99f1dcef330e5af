import { virtualClock, type VirtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import {
  HealthRoom,
  type HealthSources,
  type PublisherStatus,
  type SubscriptionStatus,
} from "../../src/health/health.ts";
import type { HalfStats } from "../../src/half/store.ts";
import { TallyError } from "../../src/error.ts";
import { HEALTH_BOUNDS } from "../../src/health/options.ts";
import type { Finding, Health } from "../../src/health/report.ts";
import { resolveOptions } from "../../src/policy.ts";
import type { OutboxStats, ParkedKey } from "../../src/stores.ts";

interface Rig {
  readonly clock: VirtualClock;
  readonly publisher: { -readonly [K in keyof PublisherStatus]: PublisherStatus[K] };
  subscriptions: readonly SubscriptionStatus[];
  stats: OutboxStats;
  halves: HalfStats;
  keys: readonly ParkedKey[];
  dropped: { readonly messages: number; readonly at: number } | null;
  /** What the stores do instead of answering. */
  outbox: (() => Promise<never>) | null;
  inbox: (() => Promise<never>) | null;
  closed: boolean;
  audit: readonly { readonly what: string; readonly text: string }[];
  look(): Promise<Health>;
}

/** Everything is well; the test breaks one thing. */
function rig({ stores = true, spills = true }: { readonly stores?: boolean; readonly spills?: boolean } = {}): Rig {
  const clock = virtualClock();
  const r: Rig = {
    clock,
    publisher: {
      destination: "rabbit",
      downSince: null,
      trouble: null,
      blockedSince: null,
      oldestSince: null,
      breakers: [],
    },
    subscriptions: [{ what: "orders / billing", downSince: null, trouble: null, paused: false }],
    stats: { rows: 0, parked: 0, oldestAt: null },
    halves: { undecided: 0, parked: 0, oldestAt: null },
    keys: [],
    dropped: null,
    outbox: null,
    inbox: null,
    closed: false,
    audit: [],
    look: () => room.look(),
  };
  const sources: HealthSources = {
    clock,
    policy: resolveOptions("health", {}, HEALTH_BOUNDS),
    isClosed: () => r.closed,
    publisher: () => r.publisher,
    subscriptions: () => r.subscriptions,
    outboxes: stores
      ? [{ name: "outbox", takes: spills, store: { stats: () => r.outbox?.() ?? Promise.resolve(r.stats) } }]
      : [],
    inbox: stores ? { parked: () => r.inbox?.() ?? Promise.resolve(r.keys) } : null,
    audit: () => r.audit,
    dropped: () => r.dropped,
    halves: stores ? { stats: () => r.outbox?.() ?? Promise.resolve(r.halves) } : null,
  };
  const room = new HealthRoom(sources);
  return r;
}

/** The findings of all checks, by check. */
function findings(health: Health): Record<string, readonly Finding[]> {
  return Object.fromEntries(health.checks.filter((c) => c.findings.length > 0).map((c) => [c.name, c.findings]));
}

describe("health()", () => {
  it("is ok and ready while nothing is wrong, and names every check", async () => {
    const health = await rig().look();
    expect(health).toMatchObject({ status: "ok", ready: true });
    expect(health.checks.map((check) => [check.name, check.status])).toEqual(
      ["closed", "unreachable", "blocked", "store", "stuck", "growing", "parked", "breaker", "paused", "audit"].map(
        (name) => [name, "ok"],
      ),
    );
    expect(JSON.parse(JSON.stringify(health))).toEqual(health);
  });

  it("finds a broker that is unreachable: failing, but degraded while an outbox takes what is published", async () => {
    for (const [options, status] of [
      [{}, "degraded"],
      [{ stores: false }, "failing"],
      [{ spills: false }, "failing"],
    ] as const) {
      const r = rig(options);
      r.publisher.downSince = r.clock.now();
      await r.clock.advance(9_000);
      expect((await r.look()).status).toBe("ok");
      await r.clock.advance(1_000);
      const health = await r.look();
      expect(health).toMatchObject({ status, ready: status === "degraded" });
      expect(findings(health)).toEqual({
        unreachable: [{ what: "rabbit", text: "no session for publishing for 10 s", status }],
      });
    }
  });

  it("finds both when the outbox that should take over does not answer", async () => {
    const r = rig();
    r.publisher.downSince = r.clock.now();
    r.outbox = () => Promise.reject(new Error("no space left on device"));
    await r.clock.advance(10_000);
    const health = await r.look();
    expect(health).toMatchObject({ status: "failing", ready: false });
    expect(findings(health)).toMatchObject({
      store: [{ what: "outbox", text: "no space left on device", status: "failing" }],
      unreachable: [{ status: "failing" }],
    });
  });

  it("what waiting does not mend is said at once, and why, for publishing and receiving", async () => {
    const r = rig({ stores: false });
    const gone = new TallyError("topology", 'queue "orders.billing" is not there');
    r.publisher.downSince = r.clock.now();
    r.publisher.trouble = gone;
    r.subscriptions = [{ what: "orders / billing", downSince: r.clock.now(), trouble: gone, paused: false }];
    const { status, checks } = await r.look();
    expect(status).toBe("failing");
    expect(checks.find(({ name }) => name === "unreachable")?.findings.map(({ text }) => text)).toEqual([
      'no session for publishing for 0 s: [topology] queue "orders.billing" is not there',
      'no session for receiving for 0 s: [topology] queue "orders.billing" is not there',
    ]);
    r.publisher.trouble = new TallyError("unreachable", "refused", { retryable: true });
    r.subscriptions = [];
    expect((await r.look()).status).toBe("ok");
  });

  it("finds a consumer without a session", async () => {
    const r = rig();
    r.subscriptions = [{ what: "orders / billing", downSince: r.clock.now(), trouble: null, paused: false }];
    await r.clock.advance(9_900);
    expect((await r.look()).status).toBe("ok");
    await r.clock.advance(100);
    const health = await r.look();
    expect([health.status, health.ready]).toEqual(["degraded", true]);
    expect(findings(health)).toMatchObject({ unreachable: [{ what: "orders / billing" }] });
  });

  it("finds a broker that has blocked us", async () => {
    const r = rig({ stores: false });
    r.publisher.blockedSince = r.clock.now();
    await r.clock.advance(9_000);
    expect((await r.look()).status).toBe("ok");
    await r.clock.advance(5_000);
    expect(findings(await r.look())).toEqual({
      blocked: [{ what: "rabbit", text: "the broker has read nothing for 14 s", status: "failing" }],
    });
  });

  it("finds what is stuck: a publish without a verdict, a row that waits", async () => {
    const r = rig();
    r.publisher.oldestSince = r.clock.now();
    r.stats = { rows: 1, parked: 0, oldestAt: r.clock.wall() };
    await r.clock.advance(59_000);
    expect((await r.look()).status).toBe("ok");
    await r.clock.advance(1_000);
    expect(findings(await r.look())).toEqual({
      stuck: [
        { what: "outbox", text: "a row has waited for 60 s", status: "degraded" },
        { what: "rabbit", text: "a publish() has had no verdict for 60 s", status: "degraded" },
      ],
    });
  });

  it("finds an outbox that only gets more rows; one that got fewer in between is not growing", async () => {
    const r = rig();
    const rows = async (n: number): Promise<Health> => {
      r.stats = { rows: n, parked: 0, oldestAt: null };
      await r.clock.advance(10_000);
      return await r.look();
    };
    for (let i = 0; i < 6; i++) expect((await rows(5_000 + i)).status).toBe("ok");
    expect(findings(await rows(6_000))).toEqual({
      growing: [{ what: "outbox", text: "6000 rows, 1000 more than 60 s ago", status: "degraded" }],
    });
    expect((await rows(5_999)).status).toBe("ok");
    for (let i = 0; i < 5; i++) expect((await rows(6_000 + i)).status).toBe("ok");
    expect((await rows(7_000)).status).toBe("degraded");
    // Steady is not growing, and few rows are nothing.
    const steady = rig();
    for (let i = 0; i < 20; i++) {
      steady.stats = { rows: 5_000, parked: 0, oldestAt: null };
      await steady.clock.advance(10_000);
      expect((await steady.look()).status).toBe("ok");
    }
    const few = rig();
    for (let i = 0; i < 200; i++) {
      few.stats = { rows: i, parked: 0, oldestAt: null };
      await few.clock.advance(10_000);
      expect((await few.look()).status).toBe("ok");
    }
  });

  it("finds what waits for a person", async () => {
    const r = rig();
    r.stats = { rows: 0, parked: 2, oldestAt: null };
    r.keys = [{} as ParkedKey];
    const health = await r.look();
    expect([health.status, health.ready]).toEqual(["degraded", true]);
    expect(findings(health)).toEqual({
      parked: expect.arrayContaining([
        { what: "outbox", text: "2 rows parked, for a person to look at", status: "degraded" },
        { what: "inbox", text: "1 key parked, for a person to look at", status: "degraded" },
      ]),
    });
  });

  it("finds half messages that nobody decides", async () => {
    const r = rig();
    r.halves = { undecided: 1, parked: 2, oldestAt: r.clock.wall() };
    await r.clock.advance(3_599_000);
    expect(findings(await r.look())).toEqual({
      parked: [{ what: "half messages", text: "2 half messages parked, for a person to decide", status: "degraded" }],
    });
    r.halves = { ...r.halves, parked: 0 };
    await r.clock.advance(1_000);
    expect(findings(await r.look())).toMatchObject({ stuck: [{ what: "half messages", status: "degraded" }] });
  });

  it("shows for an hour what the broker has dropped of half messages, and counts parked keys out up to a thousand", async () => {
    const r = rig();
    r.dropped = { messages: 3, at: r.clock.now() };
    await r.clock.advance(3_599_000);
    expect(findings(await r.look())).toEqual({
      stuck: [{ what: "half messages", text: expect.stringMatching(/^the broker has dropped 3,/), status: "degraded" }],
    });
    await r.clock.advance(1_000);
    expect((await r.look()).status).toBe("ok");
    r.keys = Array.from({ length: 1_000 }, () => ({}) as ParkedKey);
    expect(findings(await r.look())).toMatchObject({
      parked: [{ what: "inbox", text: "at least 1000 keys parked, for a person to look at" }],
    });
  });

  it("finds topics that the broker does not take, and topics that a consumer has left", async () => {
    const r = rig();
    r.publisher.breakers = [{ topic: "orders", since: r.clock.now() }];
    r.subscriptions = [{ what: "orders / billing", downSince: r.clock.now(), trouble: null, paused: true }];
    await r.clock.advance(20_000);
    expect(findings(await r.look())).toMatchObject({
      breaker: [{ what: "orders", text: "the broker has not taken its messages for 20 s" }],
      paused: [{ what: "orders / billing" }],
    });
  });

  it("does not hang with a store that does not answer: that is a finding, after its limit", async () => {
    const r = rig();
    r.inbox = () => new Promise(() => {});
    const looking = r.look();
    await r.clock.advance(2_000);
    const health = await looking;
    expect(health).toMatchObject({ status: "failing", ready: false });
    expect(findings(health)).toEqual({
      store: [{ what: "inbox", text: "[store] no answer within 2000 ms", status: "failing" }],
    });
    expect(r.clock.pending()).toBe(0);
  });

  it("does not throw with a store that throws", async () => {
    const r = rig();
    r.outbox = () => {
      throw undefined;
    };
    expect((await r.look()).status).toBe("failing");
  });

  it("is failing once it is closed, and asks no store any more", async () => {
    const r = rig();
    r.closed = true;
    r.outbox = () => new Promise(() => {});
    const health = await r.look();
    expect([health.ready, Object.keys(findings(health))]).toEqual([false, ["closed"]]);
  });
});
