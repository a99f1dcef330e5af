import { describe, expect, it } from "vitest";
import type { AuditFinding } from "@tallymq/core/spi";
import { CHECKS } from "../../src/audit/checks.ts";
import { judge } from "../../src/audit/judge.ts";
import type { ExchangeState, Policy, QueueState, World } from "../../src/audit/world.ts";

const ARGUMENTS = {
  "x-queue-type": "quorum",
  "x-delivery-limit": 200,
  "x-dead-letter-exchange": "",
  "x-dead-letter-routing-key": "q.dead",
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
};
const SETTINGS = { durable: true, auto_delete: false, exclusive: false, ...ARGUMENTS };

/** Everything is well; the test breaks one thing. */
function queue(given: Partial<QueueState> = {}): QueueState {
  return {
    name: "q",
    settings: SETTINGS,
    expected: ARGUMENTS,
    letters: false,
    ordered: false,
    policies: [],
    replicas: { members: 3, online: 3 },
    bound: true,
    deadLettersArrive: true,
    transient: 0,
    holdsMs: 0,
    attempts: 5,
    ...given,
  };
}

function world(given: Partial<World> = {}): World {
  return {
    destination: "rabbitmq",
    vhost: "/",
    exchanges: [exchange()],
    queues: [queue()],
    nodes: 3,
    management: "",
    heartbeat: 5_000,
    mode: "confirm",
    ...given,
  };
}

function exchange(given: Partial<ExchangeState> = {}): ExchangeState {
  return { name: "e", type: "fanout", settings: { type: "fanout", durable: true, auto_delete: false }, ...given };
}

const set = (settings: object): World => world({ queues: [queue({ settings: { ...SETTINGS, ...settings } })] });
const but = (...without: string[]): World =>
  world({
    queues: [
      queue({ settings: Object.fromEntries(Object.entries(SETTINGS).filter(([key]) => !without.includes(key))) }),
    ],
  });
const of = (given: Partial<QueueState>): World => world({ queues: [queue(given)] });
const policy = (definition: object, operator = false): World =>
  of({ policies: [{ name: "theirs", operator, definition } as Policy] });

const shown = ({ check, severity, text }: AuditFinding): string => `${check} ${severity}: ${text}`;

describe("each finding, from a described broker", () => {
  const table: readonly (readonly [string, World, readonly string[]])[] = [
    ["all is well", world(), []],
    [
      "an exchange is missing",
      world({ exchanges: [exchange({ settings: null })] }),
      ["exchange-missing error: it is not there"],
    ],
    [
      "an exchange is not durable",
      world({ exchanges: [exchange({ settings: { durable: false } })] }),
      ["exchange-durable error: it is not durable"],
    ],
    [
      "an exchange goes with its last binding",
      world({ exchanges: [exchange({ settings: { durable: true, auto_delete: true } })] }),
      ["exchange-durable error: it is deleted with its last binding (auto-delete)"],
    ],
    ["a queue is missing", of({ settings: null }), ["queue-missing error: it is not there"]],
    ["a queue is not durable", set({ durable: false }), ["queue-durable error: it is not durable"]],
    [
      "a queue is exclusive",
      set({ exclusive: true }),
      ["queue-durable error: it belongs to one connection (exclusive)"],
    ],
    [
      "a queue goes with its consumer",
      set({ auto_delete: true }),
      ["queue-durable error: it is deleted with its last consumer (auto-delete)"],
    ],
    [
      "a classic queue",
      of({ settings: { durable: true, auto_delete: false, "x-queue-type": "classic" }, replicas: null }),
      ["queue-type warning: it is a classic queue"],
    ],
    [
      "a stream",
      of({ settings: { durable: true, auto_delete: false, "x-queue-type": "stream" }, replicas: null }),
      ["queue-type error: it is a stream, which Tally does not consume"],
    ],
    [
      "a replica is down",
      of({ replicas: { members: 3, online: 2 } }),
      ["replicas warning: 2 of its 3 replicas are up"],
    ],
    [
      "too few replicas for the cluster",
      of({ replicas: { members: 1, online: 1 } }),
      ["replicas warning: it has 1 of three replicas, and the cluster has the nodes"],
    ],
    [
      "one node",
      world({ nodes: 1, queues: [queue({ replicas: { members: 1, online: 1 } })] }),
      ["replicas info: 1 replica: the cluster has no more nodes"],
    ],
    [
      "no dead-letter exchange",
      but("x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy"),
      ["dead-letters error: it has no dead-letter exchange"],
    ],
    [
      "one that leads nowhere",
      of({ deadLettersArrive: false }),
      ["dead-letters error: nothing takes its dead letters: their target is not there"],
    ],
    [
      "at most once",
      set({ "x-dead-letter-strategy": "at-most-once" }),
      ['dead-letter-strategy warning: its strategy is "at-most-once"'],
    ],
    ["no strategy", but("x-dead-letter-strategy"), ['dead-letter-strategy warning: its strategy is "at-most-once"']],
    [
      "at least once without reject-publish",
      but("x-overflow"),
      [
        'dead-letter-strategy error: at-least-once needs overflow "reject-publish" and it is "drop-head" (argument x-overflow): the broker falls back to at-most-once, silently',
      ],
    ],
    [
      "a delivery limit below ten times ours",
      set({ "x-delivery-limit": 40 }),
      ["delivery-limit warning: it is 40 (argument x-delivery-limit), and 50 would be enough"],
    ],
    [
      "the broker's default limit",
      but("x-delivery-limit"),
      ["delivery-limit warning: it is 20 (argument x-delivery-limit), and 50 would be enough"],
    ],
    [
      "no limit where the topic is ordered",
      of({ ordered: true, settings: { ...SETTINGS, "x-delivery-limit": -1, "x-single-active-consumer": true } }),
      [
        "delivery-limit warning: it has no limit (-1): what is returned goes to the back of the queue, and the topic is ordered",
      ],
    ],
    ["no limit where it is not", set({ "x-delivery-limit": -1 }), []],
    [
      "a bound that drops the oldest",
      of({ settings: { durable: true, "x-queue-type": "classic", "x-max-length": 5 }, replicas: null }),
      [
        "queue-type warning: it is a classic queue",
        'overflow error: it holds at most 5 messages (argument x-max-length), and its overflow is "drop-head"',
      ],
    ],
    [
      "reject-publish-dlx is drop-head on a quorum queue",
      set({ "x-max-length-bytes": 5, "x-overflow": "reject-publish-dlx" }),
      [
        'dead-letter-strategy error: at-least-once needs overflow "reject-publish" and it is "reject-publish-dlx" (argument x-overflow): the broker falls back to at-most-once, silently',
        'overflow error: it holds at most 5 bytes (argument x-max-length-bytes), and its overflow is "reject-publish-dlx"',
      ],
    ],
    ["a bound that rejects", set({ "x-max-length": 5 }), []],
    [
      "a TTL without dead letters",
      of({ settings: { durable: true, "x-queue-type": "classic", "x-message-ttl": 5 }, replicas: null }),
      [
        "queue-type warning: it is a classic queue",
        "dead-letters error: it has no dead-letter exchange",
        "message-ttl error: messages live 5 ms (argument x-message-ttl), and nothing takes what expires",
      ],
    ],
    ["a TTL with dead letters", set({ "x-message-ttl": 5 }), []],
    [
      "a queue that expires",
      set({ "x-expires": 9 }),
      ["queue-expires error: it is deleted after 9 ms without use (argument x-expires)"],
    ],
    [
      "a policy that lets it expire",
      policy({ expires: 9 }),
      ['queue-expires error: it is deleted after 9 ms without use (policy "theirs")'],
    ],
    [
      "an operator policy that lowers the limit",
      policy({ "delivery-limit": 5 }, true),
      [
        'delivery-limit warning: it is 5 (operator policy "theirs"), and 50 would be enough',
        'policy warning: operator policy "theirs" makes x-delivery-limit 5 of 200',
      ],
    ],
    [
      "transactions on a quorum queue that can be full",
      { ...set({ "x-max-length": 5 }), mode: "tx" },
      ['transactions error: it holds at most 5 messages (argument x-max-length), and mode is "tx"'],
    ],
    ["transactions on a quorum queue that cannot", world({ mode: "tx" }), []],
    ["confirms on one that can", set({ "x-max-length": 5 }), []],
    ["a policy that would raise it does not", policy({ "delivery-limit": 500, overflow: "drop-head" }), []],
    [
      "a policy that bounds a queue which drops",
      of({
        settings: { durable: true, "x-queue-type": "classic" },
        replicas: null,
        policies: [{ name: "p", operator: false, definition: { "max-length": 7 } }],
      }),
      [
        "queue-type warning: it is a classic queue",
        'overflow error: it holds at most 7 messages (policy "p"), and its overflow is "drop-head"',
      ],
    ],
    [
      "two active consumers of an ordered topic",
      of({ ordered: true }),
      ["single-active-consumer error: the topic is ordered, and it has none"],
    ],
    ["not bound", of({ bound: false }), ["binding error: it is not bound"]],
    [
      "messages that are not persistent",
      of({ transient: 3 }),
      ["transient-messages warning: 3 of its messages are not persistent"],
    ],
    [
      "handlers that take longer than the broker waits",
      of({ holdsMs: 2_000_000 }),
      [
        "consumer-timeout warning: a delivery may be held for 2000000 ms, and the time-out is 1800000 ms (the default: what the node has cannot be asked for)",
      ],
    ],
    [
      "a policy that makes it shorter",
      of({ holdsMs: 2_000, policies: [{ name: "p", operator: false, definition: { "consumer-timeout": 1_000 } }] }),
      ['consumer-timeout warning: a delivery may be held for 2000 ms, and the time-out is 1000 ms (policy "p")'],
    ],
    [
      "handlers that are quick enough",
      of({ holdsMs: 2_000 }),
      ["consumer-timeout info: unverifiable: whether the broker's consumer time-out is longer than handlers may take"],
    ],
    ["no heartbeats", world({ heartbeat: 0 }), ["heartbeat warning: they are off (heartbeat: 0)"]],
    ["no management", world({ management: null }), ["management info: it is not given"]],
    ["a management that is silent", world({ management: "refused" }), ["management info: it gave no answer: refused"]],
  ];
  it.each(table)("%s", (_name, given, expected) => {
    expect(judge(given).map(shown)).toEqual(expected);
  });

  it("each check of the table has a row that finds it", () => {
    const found = new Set(table.flatMap(([, , findings]) => findings.map((text) => text.split(" ")[0]!)));
    expect(CHECKS.map(({ name }) => name).filter((name) => !found.has(name))).toEqual([]);
  });

  it("what could not be seen is one finding a check, not one a queue, and never an error", () => {
    const queues = Array.from({ length: 7 }, (_, i) =>
      queue({ name: `q${i}`, policies: null, replicas: null, bound: null }),
    );
    const findings = judge(world({ queues, management: null }));
    expect(findings.map(({ check, severity }) => `${check} ${severity}`)).toEqual([
      "replicas info",
      "policy info",
      "management info",
    ]);
    expect(findings[0]!.what).toBe('queue "q0", queue "q1", queue "q2", queue "q3", queue "q4" and 2 more');
    const hidden = judge(
      world({ queues: [queue({ settings: "hidden" })], exchanges: [exchange({ settings: "hidden" })] }),
    );
    expect(hidden.length).toBeGreaterThan(5);
    expect(hidden.every(({ severity, text }) => severity === "info" && text.startsWith("unverifiable"))).toBe(true);
  });

  it("the fix names the queue and the virtual host", () => {
    const [finding] = judge({ ...set({ durable: false }), vhost: "shop" });
    expect(finding!.fix).toBe(
      "rabbitmqctl delete_queue --vhost shop q (when it is empty), then start again with declare: true",
    );
  });

  it("dead letters need neither a limit of handlers nor dead letters of their own", () => {
    const settings = { durable: true, auto_delete: false, "x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000 };
    expect(judge(of({ letters: true, settings, expected: settings, bound: null, deadLettersArrive: null }))).toEqual(
      [],
    );
  });
});
