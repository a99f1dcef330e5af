import type { AuditFinding } from "@tallymq/core/spi";
import { describe, expect, it } from "vitest";
import { CHECKS } from "../../src/audit/checks.ts";
import { judge } from "../../src/audit/judge.ts";
import type { BrokerState, GroupState, TopicState, World } from "../../src/audit/world.ts";

const SETTINGS = {
  flushDiskType: "SYNC_FLUSH",
  brokerRole: "SYNC_MASTER",
  inSyncReplicas: "2",
  minInSyncReplicas: "1",
  cleanFileForciblyEnable: "false",
  fileReservedTime: "72",
  transactionTimeOut: "6000",
  transactionCheckMax: "120",
  transactionCheckInterval: "30000",
};
const CONTROLLED = { ...SETTINGS, enableControllerMode: "true", allAckInSyncStateSet: "true", minInSyncReplicas: "2" };
const CLEAN = new Map([["enableElectUncleanMaster", "false"]]);
const HOUR = 3_600_000;

/** Everything is well; the test breaks one thing. */
function broker(given: Partial<Omit<BrokerState, "settings">> = {}, settings: object | null = SETTINGS): BrokerState {
  return {
    name: "broker-a",
    settings: settings === null ? null : new Map(Object.entries(settings)),
    version: "5.5.0",
    replicas: 2,
    inSync: 2,
    controllers: null,
    ...given,
  };
}
const fine = { kind: "NORMAL", queues: 8, reads: true, writes: true };
const group = (given: object = {}, state: Partial<GroupState> = {}): World =>
  world({
    groups: [
      {
        name: "orders_billing",
        ordered: false,
        attempts: 16,
        on: new Map([["broker-a", { ordered: false, retries: 1_000, enabled: true, ...given }]]),
        ...state,
      },
    ],
  });
const topic = (given: object = {}, state: Partial<TopicState> = {}): World =>
  world({ topics: [{ name: "orders", kind: "NORMAL", on: new Map([["broker-a", { ...fine, ...given }]]), ...state }] });

function world(given: Partial<World> = {}): World {
  return {
    destination: "rocketmq",
    names: "",
    brokers: [broker()],
    topics: [],
    groups: [],
    downtime: HOUR,
    ...given,
  };
}
const of = (given: Partial<Omit<BrokerState, "settings">>, settings: object | null = SETTINGS): World =>
  world({ brokers: [broker(given, settings)] });
const set = (settings: object): World => of({}, { ...SETTINGS, ...settings });

const shown = ({ check, severity, text }: AuditFinding): string => `${check} ${severity}: ${text}`;

describe("each finding, from a described cluster", () => {
  const table: readonly (readonly [string, World, readonly string[]])[] = [
    ["all is well", world(), []],
    ["a topic and a group that are well", { ...topic(), groups: group().groups }, []],
    ["no broker", world({ brokers: [] }), ["master warning: the name servers know no broker"]],
    [
      "it answers before the disk has it, alone",
      set({ flushDiskType: "ASYNC_FLUSH", inSyncReplicas: "1" }),
      [
        "flush error: it is ASYNC_FLUSH, and no replica is waited for",
        "replicas warning: it has 2 replicas, and waits for none (brokerRole=SYNC_MASTER, inSyncReplicas=1, minInSyncReplicas=1)",
      ],
    ],
    [
      "it answers before any disk has it, when a replica has it",
      set({ flushDiskType: "ASYNC_FLUSH" }),
      ["flush warning: it is ASYNC_FLUSH: replicas are waited for, and no disk"],
    ],
    [
      "a role that waits for nobody, whatever inSyncReplicas says",
      set({ brokerRole: "ASYNC_MASTER" }),
      [
        "replicas warning: it has 2 replicas, and waits for none (brokerRole=ASYNC_MASTER, inSyncReplicas=2, minInSyncReplicas=1)",
      ],
    ],
    [
      "a number that gives way when a replica is gone",
      set({ enableAutoInSyncReplicas: "true" }),
      [
        "replicas warning: it has 2 replicas, and waits for none (brokerRole=SYNC_MASTER, inSyncReplicas=2, minInSyncReplicas=1)",
      ],
    ],
    [
      "one broker alone",
      of({ replicas: 1, inSync: null }, { ...SETTINGS, inSyncReplicas: "1" }),
      ["replicas info: it has no other replica (brokerRole=SYNC_MASTER, inSyncReplicas=1, minInSyncReplicas=1)"],
    ],
    ["a replica is down", of({ inSync: 1 }), ["replicas warning: 1 of the 2 replicas that it waits for is in sync"]],
    [
      "a DLedger commit log",
      set({ enableDLegerCommitLog: "true", brokerRole: "ASYNC_MASTER" }),
      ["replicas info: a DLedger commit log: its group is not looked at"],
    ],
    ["controllers, all well", of({ controllers: [CLEAN] }, CONTROLLED), []],
    [
      "controllers: those in sync may be one",
      of({ controllers: [CLEAN] }, { ...CONTROLLED, minInSyncReplicas: "1" }),
      [
        "replicas warning: it has 2 replicas, and waits for none (brokerRole=SYNC_MASTER, inSyncReplicas=2, minInSyncReplicas=1)",
      ],
    ],
    [
      "a controller that elects whom it finds",
      of({ controllers: [CLEAN, new Map([["enableElectUncleanMaster", "true"]])] }, CONTROLLED),
      ["controller error: a controller may (enableElectUncleanMaster=true)"],
    ],
    [
      "controllers that do not answer",
      of({}, CONTROLLED),
      [
        "controller info: unverifiable: whether no controller makes a replica master that lacks messages (enableElectUncleanMaster=false)",
      ],
    ],
    ...["5.2.0", "5.3.0", "5.3.3"].map(
      (version) => [version, of({ version }), [`version error: it is ${version}`]] as const,
    ),
    ...["4.9.7", "5.1.4", "5.3.4", "5.3.10", "5.4.0"].map((version) => [version, of({ version }), []] as const),
    [
      "a full disk deletes",
      of({}, { ...SETTINGS, cleanFileForciblyEnable: "true" }),
      ["disk-full warning: it deletes what is oldest"],
    ],
    ["kept for a day", set({ fileReservedTime: "24" }), ["retention warning: for 24"]],
    [
      "half messages are asked about for less than the downtime",
      set({ transactionCheckMax: "15" }),
      ["transaction-checks info: for 7.6 min (15 times); the service may be away for 1 h"],
    ],
    [
      "a topic is missing",
      topic({}, { on: new Map([["broker-a", null]]) }),
      ["topic-missing error: it is not on broker-a"],
    ],
    ["a topic of another kind", topic({ kind: "FIFO" }), ["topic-type error: on broker-a FIFO, and NORMAL is needed"]],
    ["a topic that takes nothing", topic({ writes: false }), ["topic-rights error: on broker-a it takes nothing"]],
    ["a topic that gives nothing", topic({ reads: false }), ["topic-rights error: on broker-a it hands nothing out"]],
    [
      "a group is missing",
      group({}, { on: new Map([["broker-a", null]]) }),
      ["group-missing warning: it is not on broker-a"],
    ],
    ["a group without order", group({}, { ordered: true }), ["group-order error: on broker-a not ordered"]],
    ["a group with order", group({ ordered: true }), ["group-order error: on broker-a ordered, and the topic is not"]],
    ["a group that may not consume", group({ enabled: false }), ["group-enabled error: on broker-a it may not"]],
    [
      "a group that gives up soon",
      group({ retries: 16 }),
      ["retry-limit warning: on broker-a it is 16, and 160 would be enough"],
    ],
    [
      "a group that is published to only: more than the broker's default",
      group({ retries: 16 }, { attempts: 0 }),
      ["retry-limit warning: on broker-a it is 16, and 17 would be enough"],
    ],
  ];
  it.each(table)("%s", (_, given, expected) => {
    expect(judge(given).map(shown)).toEqual(expected);
  });
});

describe("what cannot be seen", () => {
  const things: Partial<World> = {
    topics: [{ name: "orders", kind: "NORMAL", on: "unseen" }],
    groups: [{ name: "orders_billing", ordered: false, attempts: 5, on: "unseen" }],
  };

  it.each([
    ["name servers are not given", null, "names info: they are not given"],
    ["they do not answer", "no answer of a:9876", "names info: one gave no answer: no answer of a:9876"],
  ])("is unverifiable, never durable: %s", (_, names, said) => {
    const findings = judge(world({ ...things, names, brokers: null }));
    expect(findings.every(({ severity }) => severity === "info")).toBe(true);
    expect(shown(findings[0]!)).toBe(said);
    // Each check but the first, none of them left out.
    expect(findings.slice(1).map(({ check, text }) => [check, text.startsWith("unverifiable: whether ")])).toEqual(
      CHECKS.slice(1).map(({ name }) => [name, true]),
    );
  });

  it("of a broker that is there: its settings, its version, its replicas", () => {
    const findings = judge(of({ version: null, replicas: 1 }, null));
    expect(findings.map(({ check }) => check)).toEqual([
      ...["master", "flush", "replicas", "controller", "version", "disk-full", "retention", "transaction-checks"],
    ]);
    expect(shown(findings[0]!)).toBe("master warning: broker-a has none");
    expect(findings.slice(1).every(({ severity, text }) => severity === "info" && text.startsWith("unverif"))).toBe(
      true,
    );
  });
});
