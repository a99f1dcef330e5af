import type { Failpoint } from "@tallymq/testkit/crash";
import type { Job } from "./members/job.ts";

/** A way to reach some failpoints: what the processes do, and what is done to them. */
export interface Scenario {
  readonly what: string;
  /** Who passes the points, and is to die there. */
  readonly crashes: Job["role"];
  /** On the way the publishers' connections are refused until some messages are stored. */
  readonly outage: boolean;
  /**
   * A handler with `effect: "marked"` may run again when its process died between effect and mark; so it makes its effect
   * idempotent by itself, as its users have to.
   */
  readonly marked: boolean;
  /** Orders that are given up: they are to have a dead letter and no effect. */
  dead(n: number): boolean;
}

const none = (): boolean => false;

export const SCENARIOS = {
  publish: {
    what: "messages are published, and confirmed one by one",
    crashes: "publisher",
    outage: false,
    marked: false,
    dead: none,
  },
  spill: {
    what: "the broker cannot be reached for a while: messages are stored, and relayed afterwards",
    crashes: "publisher",
    outage: true,
    marked: false,
    dead: none,
  },
  consume: {
    what: "effect and mark are one transaction (effect: tx)",
    crashes: "consumer",
    outage: false,
    marked: false,
    dead: none,
  },
  marked: {
    what: "effect, then mark (effect: marked), by a handler that is idempotent itself",
    crashes: "consumer",
    outage: false,
    marked: true,
    dead: none,
  },
  poison: {
    what: "each fifth order makes its handler throw, and gets a dead letter",
    crashes: "consumer",
    outage: false,
    marked: false,
    dead: (n) => n % 5 === 0,
  },
  forward: {
    what: "the handler publishes the order on, in the transaction of its mark; whoever gets that bills it",
    crashes: "consumer",
    outage: false,
    marked: false,
    dead: none,
  },
} as const satisfies Readonly<Record<string, Scenario>>;

export type ScenarioName = keyof typeof SCENARIOS;

/** Where a point is passed, and the pass at which the process is to die: drawn between these, both included. */
export interface Plan {
  readonly scenario: ScenarioName;
  readonly passes: readonly [least: number, most: number];
}

/** Each failpoint of the list has its place here; a house test compares the two. */
export const PLANS: Readonly<Partial<Record<Failpoint, Plan>>> = {
  "publisher.called": { scenario: "publish", passes: [10, 100] },
  "publisher.sent": { scenario: "publish", passes: [2, 10] },
  "publisher.accepted": { scenario: "publish", passes: [10, 100] },

  "outbox.putting": { scenario: "spill", passes: [1, 4] },
  "outbox.stored": { scenario: "spill", passes: [1, 4] },

  "relay.taken": { scenario: "spill", passes: [1, 2] },
  "relay.sent": { scenario: "spill", passes: [1, 2] },
  "relay.accepted": { scenario: "spill", passes: [1, 25] },
  "relay.ended": { scenario: "spill", passes: [1, 2] },

  "tx.put": { scenario: "forward", passes: [5, 60] },
  "tx.committed": { scenario: "forward", passes: [5, 60] },

  "inbox.claimed": { scenario: "consume", passes: [5, 80] },
  "inbox.handled": { scenario: "marked", passes: [5, 80] },
  "inbox.marked": { scenario: "marked", passes: [5, 80] },
  "inbox.in-effect": { scenario: "consume", passes: [5, 80] },
  "inbox.committed": { scenario: "consume", passes: [5, 80] },

  "settlement.due": { scenario: "consume", passes: [2, 12] },
  "settlement.handed": { scenario: "consume", passes: [2, 12] },

  "dead-letter.marked": { scenario: "poison", passes: [1, 20] },
  "dead-letter.confirmed": { scenario: "poison", passes: [1, 20] },
};

/** All of them, in the order of the list. */
export const POINTS: readonly Failpoint[] = Object.keys(PLANS) as Failpoint[];
