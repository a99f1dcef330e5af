import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LedgerWriter } from "@tallymq/testkit/ledger";
import { onTestFinished, expect, test } from "vitest";
import { directFaults, type DirectorOptions, type FaultRecord } from "../faults/director.ts";
import type { Moment, Pressed } from "../faults/moment.ts";
import { flat, planFaults } from "../faults/plan.ts";

const shop = { publishers: 3, consumers: 3, relays: true, cluster: false, proxy: false };
const plan = planFaults(1, shop);
const busy: Moment = {
  accepted: 0,
  publishing: [20, 20, 20],
  pressed: true,
  handling: [5, 5, 5],
  published: false,
  relaying: true,
};

function stage(moment: () => Moment, over: Partial<DirectorOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "tally-faults-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const ledger = new LedgerWriter({ folder, run: "r", proc: "director" });
  const struck: string[] = [];
  const pressed: Pressed[] = [];
  const records: FaultRecord[] = [];
  const options: DirectorOptions = {
    plan,
    messages: 1000,
    awaitsAnswer: true,
    ledger,
    moment,
    waiting: () => 0,
    blow: async ({ kind }) => ({
      victim: null,
      waiting: 0,
      strike: async () => void struck.push(kind),
      heal: async () => void struck.push(`${kind} healed`),
    }),
    press: (who) => void pressed.push(who),
    hold: () => {},
    told: () => {},
    recorded: (record) => void records.push(record),
    patience: 50,
    ...over,
  };
  const lines = (): Record<string, unknown>[] =>
    readFileSync(ledger.path, "utf8")
      .trim()
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  return { options, struck, pressed, records, lines };
}

test("an outage that is to be fatal for who relays waits until somebody does, and publishers wait with it", async () => {
  const seen: string[] = [];
  let looks = 0;
  const { options } = stage(() => ({ ...busy, accepted: 1_000, relaying: ++looks > 5 }), {
    plan: plan.slice(-1),
    hold: (held) => void seen.push(held ? "held" : "go on"),
  });
  const blow: DirectorOptions["blow"] = (fault) => {
    seen.push(`${fault.kind}${looks > 5 ? "" : " too early"}`);
    return options.blow(fault);
  };
  await directFaults({ ...options, blow }, new AbortController().signal);
  expect(seen.slice(0, 4)).toEqual(["held", "go on", "broker-away", "relay-killed"]);
});

test("an outage does not wait for ever for somebody who relays", async () => {
  const { options, struck } = stage(() => ({ ...busy, accepted: 1_000, relaying: false }), { plan: plan.slice(-1) });
  await directFaults(options, new AbortController().signal);
  expect(struck[0]).toBe("broker-away");
});

test("while nobody handles what waits publishers are held, and longer than they would be waited for", async () => {
  const seen: string[] = [];
  let idleUntil = Infinity;
  const { options } = stage(() => ({ ...busy, accepted: 600, handling: performance.now() < idleUntil ? [0] : [3] }), {
    plan: plan.slice(2, 3),
    waiting: () => 100,
    hold: (held) => void seen.push(held ? "held" : "go on"),
  });
  idleUntil = performance.now() + 2 * (options.patience ?? 0);
  const blow: DirectorOptions["blow"] = (fault) => {
    seen.push(fault.kind);
    return options.blow(fault);
  };
  await directFaults({ ...options, blow }, new AbortController().signal);
  expect(seen.slice(0, 3)).toEqual(["held", "go on", "consumer-killed"]);
});

test.for([
  ["next to nothing waits", 2, { handling: [0] }, []],
  ["a handler is at work, and publishers wait for the broker", 100, { handling: [3], pressed: false }, []],
  ["much waits, and they go on in the end", 100, { handling: [0] }, [true, false]],
] as const)("publishers are held, or not: %s", async ([, waiting, over, expected]) => {
  const seen: boolean[] = [];
  const { options, struck } = stage(() => ({ ...busy, accepted: 600, ...over }), {
    plan: plan.slice(0, 1),
    waiting: () => waiting,
    hold: (held) => void seen.push(held),
  });
  await directFaults(options, new AbortController().signal);
  expect([seen, struck]).toEqual([expected, []]);
});

test("a consumer is killed after all is published as well, if something is left to handle", async () => {
  let looks = 0;
  const late = (): Moment => ({ ...busy, accepted: 1_000, published: true, handling: ++looks < 9 ? [0] : [3] });
  const { options, struck } = stage(late, { plan: plan.slice(2, 3), waiting: () => 5, patience: 5_000 });
  await directFaults(options, new AbortController().signal);
  expect(struck).toContain("consumer-killed");
  looks = 0;
  const none = stage(late, { plan: plan.slice(2, 3), waiting: () => 0, patience: 5_000 });
  await directFaults(none.options, new AbortController().signal);
  expect(none.struck).toEqual([]);
});

test("every fault of the plan is fired once, in order, when its share of the messages is accepted", async () => {
  let accepted = 0;
  const sharesAtBlow: number[] = [];
  const { options, struck, records } = stage(() => ({ ...busy, accepted: (accepted += 10) }));
  const blow: DirectorOptions["blow"] = (fault) => {
    if (fault.kind !== "relay-killed") sharesAtBlow.push(accepted / 1000 - fault.share);
    return options.blow(fault);
  };
  await directFaults({ ...options, blow }, new AbortController().signal);
  expect(struck).toEqual([
    "broker-killed",
    "broker-killed healed",
    "publisher-killed",
    "publisher-killed healed",
    "consumer-killed",
    "consumer-killed healed",
    "connections-cut",
    "connections-cut healed",
    "broker-away",
    "relay-killed",
    "relay-killed healed",
    "broker-away healed",
  ]);
  expect(records.map(({ kind }) => kind)).toEqual(
    flat(plan)
      .map(({ kind }) => kind)
      .toSpliced(4, 2, "relay-killed", "broker-away"),
  );
  for (const late of sharesAtBlow) expect(late).toBeGreaterThanOrEqual(0);
});

test.for([
  ["nothing in flight", { ...busy, publishing: [0, 0, 0], handling: [0, 0, 0] }],
  ["no call without an answer", { ...busy, publishing: [0, 0, 0], handling: [5, 0, 5] }],
  ["no call of the one that is to be killed", { ...busy, publishing: [20, 0, 20], handling: [0, 0, 0] }],
  ["no running handler", { ...busy, handling: [0, 0, 0] }],
] as const)("a fault is not fired at an idle moment: %s", async ([, idle]) => {
  const victim = 1;
  const idlePlan = plan
    .map((fault) => ({ ...fault, victim }))
    // A publisher is killed whatever consumers do.
    .filter(({ kind }) => kind !== "publisher-killed" || idle.publishing[victim] === 0)
    // And the busiest consumer whatever publishers do.
    .filter(({ kind }) => kind !== "consumer-killed" || idle.handling.every((handlers) => handlers === 0));
  const { options, struck, records } = stage(() => ({ ...idle, accepted: 999 }), { plan: idlePlan });
  await directFaults(options, new AbortController().signal);
  expect([struck, records]).toEqual([[], []]);
});

test("it is fired as soon as enough is in flight", async () => {
  let asked = 0;
  const { options, records } = stage(() => ({ ...busy, accepted: 999, publishing: [++asked < 5 ? 0 : 12] }), {
    plan: plan.slice(0, 1),
  });
  await directFaults(options, new AbortController().signal);
  expect(records).toMatchObject([{ kind: "broker-killed", publishing: 12, handling: 15 }]);
});

test("the ledger has the fault, its victim and what was in flight before the blow falls", async () => {
  const victim = { proc: "consumer-1", epoch: 1 };
  const { options, lines } = stage(() => ({ ...busy, accepted: 999 }), { plan: plan.slice(2, 3) });
  let atBlow: unknown[] = [];
  await directFaults(
    {
      ...options,
      blow: async () => ({ victim, waiting: 7, strike: async () => void (atBlow = lines()), heal: async () => {} }),
    },
    new AbortController().signal,
  );
  expect(atBlow).toMatchObject([{ op: "fault-begin", kind: "consumer-killed", victim, inflight: 82 }]);
  expect(lines().at(-1)).toMatchObject({ op: "fault-end", kind: "consumer-killed" });
});

test("a blow whose moment never comes is not struck, and what it stands within goes on", async () => {
  const { options, struck, records, lines } = stage(() => ({ ...busy, accepted: 999 }), { plan: plan.slice(4) });
  const blow: DirectorOptions["blow"] = async (fault) => (fault.kind === "relay-killed" ? null : options.blow(fault));
  await directFaults({ ...options, blow }, new AbortController().signal);
  expect(struck).toEqual(["broker-away", "broker-away healed"]);
  expect(records).toHaveLength(1);
  expect(lines()).toHaveLength(2);
});

test("publishers are pressed from when a fault is due until it has struck, or was given up", async () => {
  const { options, pressed, struck } = stage(() => ({ ...busy, accepted: 999 }), { plan: plan.slice(0, 1) });
  const blow: DirectorOptions["blow"] = async () => ({
    victim: null,
    waiting: 0,
    strike: async () => void struck.push(String(pressed)),
    heal: async () => void struck.push(String(pressed)),
  });
  await directFaults({ ...options, blow }, new AbortController().signal);
  expect(struck).toEqual(["consumers,all", "consumers,all,nobody"]);
  const stale = stage(() => ({ ...busy, accepted: 999, pressed: false }), { plan: plan.slice(0, 1) });
  await directFaults(stale.options, new AbortController().signal);
  expect([stale.pressed.slice(0, 3), stale.pressed.at(-1), stale.records]).toEqual([
    ["consumers", "all", "consumers"],
    "nobody",
    [],
  ]);
  const waiting = stage(() => ({ ...busy, accepted: 999, handling: [0, 0, 0] }), { plan: plan.slice(0, 1) });
  await directFaults(waiting.options, new AbortController().signal);
  expect(waiting.pressed).not.toContain("all");
  const silent = stage(() => ({ ...busy, accepted: 999 }), { plan: plan.slice(0, 1), awaitsAnswer: false });
  await directFaults(silent.options, new AbortController().signal);
  expect(silent.pressed).not.toContain("all");
});

test("the seed moves the faults, and the same seed does not", () => {
  expect(planFaults(5, shop)).toEqual(planFaults(5, shop));
  expect(planFaults(5, shop)).not.toEqual(planFaults(6, shop));
});

test("of a cluster the leader is killed twice, with a group that rebalances again and again in between", () => {
  const kinds = planFaults(5, { ...shop, cluster: true }).map(({ kind }) => kind);
  expect(kinds).toEqual([
    ...["leader-killed", "publisher-killed", "consumer-killed", "connections-cut"],
    ...["rebalance", "rebalance", "rebalance", "rebalance"],
    "leader-killed",
  ]);
});

test("where clients speak to a proxy it is killed, and the broker twice", () => {
  const kinds = planFaults(5, { ...shop, proxy: true }).map(({ kind }) => kind);
  expect(kinds).toEqual(["broker-killed", "publisher-killed", "consumer-killed", "proxy-killed", "broker-away"]);
});

test("where nobody relays nobody is killed for it", () => {
  expect(flat(planFaults(5, { ...shop, relays: false })).map(({ kind }) => kind)).not.toContain("relay-killed");
});
