// One auditor and the rig around it: when it looks, what it is told, and what becomes of its findings.
import { memory, memoryInbox, memoryOutbox, seededRandom, virtualClock, type VirtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import {
  type AuditFinding,
  openTally,
  type Tally,
  TallyError,
  type TallyEvent,
  type TallyOptions,
  topic,
} from "../../src/index.ts";
import { inboxFindings } from "../../src/audit/inbox.ts";
import type { AuditPort, AuditSubject, Broker } from "../../src/spi.ts";

const orders = topic<string>("orders", { groups: ["billing"] });

function finding(severity: AuditFinding["severity"], check: string): AuditFinding {
  return { check, severity, what: 'queue "q"', text: `${check} is wrong`, why: "money", fix: `mend ${check}` };
}

const REFUSED = new TallyError("unreachable", "refused", { retryable: true });

/** An embedded broker whose audit finds what the test says. */
class Rig {
  readonly clock: VirtualClock = virtualClock();
  readonly events: TallyEvent[] = [];
  readonly looked: (readonly AuditSubject[])[] = [];
  finds: () => Promise<readonly AuditFinding[]> = () => Promise.resolve([]);
  away = false;
  readonly #real: Broker = memory();

  open(options: Partial<TallyOptions> = {}): Promise<Tally<never>> {
    const platform = { clock: this.clock, random: seededRandom(1), diagnose: () => {} };
    const broker = this.broker();
    return this.during(
      openTally({ service: "shop", broker, onEvent: (event) => void this.events.push(event), ...options }, platform),
    ) as Promise<Tally<never>>;
  }

  broker(): Broker {
    const audit: AuditPort = {
      look: (subjects) => {
        this.looked.push(subjects);
        return this.finds();
      },
    };
    return {
      name: "audited",
      open: (host) => {
        const transport = this.#real.open(host);
        return {
          name: "audited",
          traits: transport.traits,
          admin: transport.admin,
          halfMessages: null,
          members: transport.members,
          audit,
          openSender: (events, signal) => (this.away ? Promise.reject(REFUSED) : transport.openSender(events, signal)),
          openReceiver: (s, events, signal) => transport.openReceiver(s, events, signal),
          [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
        };
      },
    };
  }

  async during<T>(work: Promise<T>): Promise<T> {
    let over = false;
    work.then(
      () => (over = true),
      () => (over = true),
    );
    await this.clock.runUntil(() => over, 60_000);
    return await work;
  }

  get found(): readonly string[] {
    return this.events.flatMap((event) => (event.type === "audit-finding" ? [event.check] : []));
  }
}

async function errorOf(work: Promise<unknown>): Promise<TallyError> {
  const error = await work.then(
    () => null,
    (e: unknown) => e,
  );
  if (!TallyError.is(error)) throw new Error(`no TallyError: ${String(error)}`);
  return error;
}

describe("an audit", () => {
  it("gives all findings, errors first, of what is published to and consumed", async () => {
    const r = new Rig();
    const tally = await r.open();
    await r.during(tally.publish(orders, "a"));
    const consumer = tally.consumer("billing", { attempts: 3, processingDeadline: "10s", retryMax: "2s" });
    await r.during(consumer.on(orders, () => {}).start());
    r.finds = () => Promise.resolve([finding("info", "a"), finding("error", "b"), finding("warning", "c")]);
    const report = await r.during(tally.audit());
    expect(report.status).toBe("error");
    expect(report.findings.map(({ check }) => check)).toEqual(["b", "c", "a"]);
    expect(r.looked.at(-1)).toMatchObject([
      { topic: { name: "orders", groups: ["billing"] }, group: null },
      { topic: { name: "orders" }, group: "billing", holdsMs: 34_000, attempts: 3 },
    ]);
    await r.during(tally.close());
    await expect(tally.audit()).rejects.toMatchObject({ code: "closed" });
  });

  it("is told how old a row of the outbox may be that is sent, and how long the inbox remembers, where there are any", async () => {
    const [kept, never] = [
      topic<string>("kept", { dedupeFor: "9d" }),
      topic<string>("never", { outbox: "off", dedupeFor: "9d" }),
    ];
    const ages = async (options: Partial<TallyOptions>, effect: "marked" | "none"): Promise<unknown> => {
      const r = new Rig();
      await using tally = await openTally({
        service: "shop",
        broker: r.broker(),
        topics: [orders, kept, never],
        ...options,
      });
      await tally
        .consumer("billing", { effect })
        .on(orders, () => {})
        .start();
      await tally.audit();
      return r.looked.at(-1)!.map(({ outboxMs, remembersMs }) => [outboxMs, remembersMs]);
    };
    const day = 86_400_000;
    const stores = { outbox: memoryOutbox(), inbox: memoryInbox({ keepFor: 10 * day }) as never };
    const published = [7 * day, 9 * day, 0].map((ms) => [ms, null]);
    expect(await ages(stores, "marked")).toEqual([...published, [0, 10 * day]]);
    expect(await ages(stores, "none")).toEqual([...published, [0, null]]);
    expect(await ages({}, "none")).toEqual([0, 0, 0, 0].map((ms) => [ms, null]));
  });

  it("without any finding is ok", async () => {
    const r = new Rig();
    const tally = await r.open();
    expect(await r.during(tally.audit())).toMatchObject({ status: "ok", findings: [] });
    await r.during(tally.close());
  });

  it("that fails, or is never answered, is a finding that says so", async () => {
    const r = new Rig();
    const tally = await r.open();
    r.finds = () => Promise.reject(new TallyError("unreachable", "refused", { retryable: true }));
    expect((await r.during(tally.audit())).findings).toMatchObject([{ check: "unaudited", severity: "warning" }]);
    r.finds = () => new Promise(() => {});
    const [late] = (await r.during(tally.audit())).findings;
    expect(late).toMatchObject({
      check: "unaudited",
      text: expect.stringContaining("no answer within 10000 ms") as string,
    });
    const closed = tally.audit().catch((e: unknown) => e);
    await r.during(tally.close());
    expect(await closed).toMatchObject({ code: "closed" });
  });
});

describe('at a start, durability: "warn" (the default)', () => {
  it("each finding is an event, once until it is another, and health() has errors and warnings until they are mended", async () => {
    const r = new Rig();
    r.finds = () => Promise.resolve([finding("error", "b"), finding("warning", "c"), finding("info", "a")]);
    const tally = await r.open({ topics: [orders] });
    await r.during(
      tally
        .consumer("billing")
        .on(orders, () => {})
        .start(),
    );
    await r.clock.advance(10);
    expect(r.looked.map((subjects) => subjects.map(({ group }) => group))).toEqual([[null], ["billing"]]);
    expect(r.found).toEqual(["b", "c", "a"]);
    const health = await tally.health();
    expect(health).toMatchObject({ status: "degraded", ready: true });
    expect(health.checks.find(({ name }) => name === "audit")?.findings.map(({ text }) => text)).toEqual([
      "b is wrong",
      "c is wrong",
    ]);
    r.finds = () => Promise.resolve([]);
    await r.during(tally.audit());
    expect((await tally.health()).status).toBe("ok");
    await r.during(tally.close());
  });

  it("nobody waits for it, and a close does not either", async () => {
    const r = new Rig();
    r.finds = () => new Promise(() => {});
    const tally = await r.open({ topics: [orders] });
    await r.during(tally.publish(orders, "a"));
    await r.during(tally.close());
    expect(r.clock.pending()).toBe(0);
  });
});

describe('durability: "enforce"', () => {
  it("openTally() rejects for errors, and lists them all with their fixes", async () => {
    const r = new Rig();
    r.finds = () => Promise.resolve([finding("error", "b"), finding("warning", "c"), finding("error", "d")]);
    const error = await errorOf(r.open({ topics: [orders], durability: "enforce" }));
    expect([error.code, error.retryable, error.mayArrive]).toEqual(["unsafe", false, false]);
    expect(error.message).toContain('refuses these 2: 1. b: queue "q": b is wrong; fix: mend b 2. d:');
    expect(error.message).not.toContain("c is wrong");
  });

  it("a consumer's start() rejects, nothing of it was begun, and it has left", async () => {
    const r = new Rig();
    const tally = await r.open({ durability: "enforce" });
    await r.during(tally.publish(orders, "a"));
    r.finds = () => Promise.resolve([finding("error", "b")]);
    const seen: string[] = [];
    const starting = tally
      .consumer("billing")
      .on(orders, (body) => void seen.push(body))
      .start();
    expect(await errorOf(r.during(starting))).toMatchObject({ code: "unsafe" });
    expect(seen).toEqual([]);
    r.finds = () => Promise.resolve([finding("warning", "b")]);
    await r.during(
      tally
        .consumer("billing")
        .on(orders, (body) => void seen.push(body))
        .start(),
    );
    await r.clock.runUntil(() => seen.length === 1, 5_000);
    await r.during(tally.close());
  });

  it("what could not be looked at refuses nobody", async () => {
    const r = new Rig();
    r.finds = () => Promise.reject(REFUSED);
    const tally = await r.open({ topics: [orders], durability: "enforce" });
    expect(r.found).toEqual(["unaudited"]);
    await r.during(tally.close());
  });

  it.each(["warn", "enforce"] as const)(
    "%s: what was away at the start is looked at when a session opens, once",
    async (durability) => {
      const r = new Rig();
      r.away = true;
      r.finds = () => Promise.reject(REFUSED);
      const tally = await r.open({ topics: [orders], durability });
      await r.clock.runUntil(() => r.found.length === 1, 60_000);
      expect(r.found).toEqual(["unaudited"]);
      r.finds = () => Promise.resolve([finding("error", "b")]);
      r.away = false;
      await r.clock.runUntil(() => r.found.length === 2, 60_000);
      expect(r.found).toEqual(["unaudited", "b"]);
      expect(r.looked[1]).toEqual(r.looked[0]);
      const { checks } = await r.during(tally.health());
      const audit = JSON.stringify(checks.find(({ name }) => name === "audit"));
      expect(audit).toContain("b is wrong");
      expect(audit).not.toContain("could not be looked at");
      expect(r.looked).toHaveLength(2);
      await r.during(tally.close());
    },
  );

  it("a session that opens while it is looked at in vain has it looked at again", async () => {
    const r = new Rig();
    r.away = true;
    const looking = Promise.withResolvers<never>();
    r.finds = () => looking.promise;
    const tally = await r.open({ topics: [orders] });
    await r.clock.runUntil(() => r.looked.length === 1, 60_000);
    r.away = false;
    await r.clock.runUntil(() => r.events.some(({ type }) => type === "session-opened"), 60_000);
    r.finds = () => Promise.resolve([finding("error", "b")]);
    looking.reject(REFUSED);
    await r.clock.runUntil(() => r.found.length === 2, 1_000);
    expect(r.found).toEqual(["unaudited", "b"]);
    await r.during(tally.close());
  });
});

describe('durability: "off"', () => {
  it("nobody looks, but who asks is told", async () => {
    const r = new Rig();
    r.finds = () => Promise.resolve([finding("error", "b")]);
    const tally = await r.open({ topics: [orders], durability: "off" });
    expect([r.looked.length, r.found.length]).toEqual([0, 0]);
    expect((await r.during(tally.audit())).findings).toHaveLength(1);
    expect(r.found).toEqual([]);
    await r.during(tally.close());
  });
});

describe("the inbox's scope", () => {
  const consumed = { topic: orders, group: "billing", holdsMs: 1, attempts: 1, outboxMs: 0, remembersMs: null };
  const of = (scope: "process" | "host" | "shared", apart = false): readonly AuditFinding[] =>
    inboxFindings([consumed], { id: "i", scope }, () => apart);

  it("of a process or a host says whom it does not protect", () => {
    expect(of("process")).toMatchObject([{ severity: "info", fix: "openTally({ inbox: sqlite(path) })" }]);
    expect(of("host")).toMatchObject([
      { check: "inbox-scope", severity: "info", text: expect.stringContaining("this machine") as string },
    ]);
    expect(of("shared")).toEqual([]);
  });

  it("is an error once a member with another inbox was seen, whatever it is", () => {
    for (const scope of ["process", "host", "shared"] as const)
      expect(of(scope, true)).toMatchObject([
        { check: "inbox-scope", severity: "error", what: 'group "billing" of topic "orders"' },
      ]);
  });

  it("is nobody's matter who only publishes, or has none", () => {
    expect(inboxFindings([{ ...consumed, group: null }], { id: "i", scope: "process" }, () => true)).toEqual([]);
    expect(inboxFindings([consumed], null, () => true)).toEqual([]);
  });

  it("members that were seen to differ are found by both tallies", async () => {
    const broker = memory();
    const open = async (): Promise<Tally<never>> => {
      const tally = (await openTally({ service: "shop", broker, inbox: memoryInbox() })) as Tally<never>;
      await tally
        .consumer("billing")
        .on(orders, () => {})
        .start();
      return tally;
    };
    await using one = await open();
    await using two = await open();
    for (const tally of [one, two])
      await expect
        .poll(async () => (await tally.audit()).findings)
        .toMatchObject([{ check: "inbox-scope", severity: "error" }]);
  });
});
