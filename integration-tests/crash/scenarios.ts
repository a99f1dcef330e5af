import type { Failpoint } from "@tallymq/testkit/crash";
import type { Order } from "../workload/order.ts";
import type { Job } from "./members/job.ts";

/** A way to reach some failpoints: what the processes do, and what is done to them. */
export interface Scenario {
  readonly what: string;
  /** Who passes the points, and is to die there. */
  readonly crashes: Job["role"];
  /** On the way the publishers' connections are refused until some messages are stored. */
  readonly outage: boolean;
  /** The orders of a customer take effect in their order. */
  readonly ordered: boolean;
  /**
   * A handler with `effect: "marked"` may run again when its process died between effect and mark; so it makes its effect
   * idempotent by itself, as its users have to.
   */
  readonly marked: boolean;
  /** Orders whose handler throws, and what the consumer rules then. */
  readonly fails: (order: Order) => boolean;
  readonly ruling: "dead-letter" | "park" | "delay";
  /**
   * `never`: what fails stays given up. `by-hand`: when all others are billed, what made these fail is repaired, and they
   * are replayed. `later`: each fails once in each process, and then no more.
   */
  readonly repaired: "never" | "by-hand" | "later";
}

const PLAIN = {
  crashes: "consumer",
  outage: false,
  ordered: false,
  marked: false,
  fails: () => false,
  ruling: "dead-letter",
  repaired: "never",
} as const;

const eachFifth = (order: Order): boolean => numberOf(order.id) % 5 === 0;
const oneOfFourCustomers = (order: Order): boolean => numberOf(order.customer) % 4 === 0;

export const SCENARIOS: Readonly<Record<ScenarioName, Scenario>> = {
  publish: { ...PLAIN, what: "messages are published, and confirmed one by one", crashes: "publisher" },
  spill: {
    ...PLAIN,
    what: "the broker cannot be reached for a while: messages are stored, and relayed afterwards",
    crashes: "publisher",
    outage: true,
  },
  consume: { ...PLAIN, what: "effect and mark are one transaction (effect: tx)" },
  marked: {
    ...PLAIN,
    what: "effect, then mark (effect: marked), by a handler that is idempotent itself",
    marked: true,
  },
  poison: { ...PLAIN, what: "each fifth order makes its handler throw, and gets a dead letter", fails: eachFifth },
  letters: {
    ...PLAIN,
    what: "each fifth order gets a dead letter; then they are replayed",
    fails: eachFifth,
    repaired: "by-hand",
  },
  park: {
    ...PLAIN,
    what: "the orders of some customers fail and are parked with their keys; then they are replayed, in order",
    ordered: true,
    fails: oneOfFourCustomers,
    ruling: "park",
    repaired: "by-hand",
  },
  half: {
    ...PLAIN,
    what: "each order is a half message, whose work is done before it is sent; who finds one undecided does what is left of it",
    crashes: "publisher",
    // One of an ordered key becomes a row in its turn, which is a step of its own.
    ordered: true,
  },
  delay: {
    ...PLAIN,
    what: "each fifth order fails at first, and comes again later, as a delayed copy",
    fails: eachFifth,
    ruling: "delay",
    repaired: "later",
  },
  forward: {
    ...PLAIN,
    what: "the handler publishes the order on, in the transaction of its mark; whoever gets that bills it",
  },
};

export type ScenarioName =
  | "publish"
  | "spill"
  | "consume"
  | "marked"
  | "poison"
  | "letters"
  | "park"
  | "half"
  | "delay"
  | "forward";

/** Of `order-12`, or `customer-3`. */
export function numberOf(name: string): number {
  return Number(name.slice(name.lastIndexOf("-") + 1));
}

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

  "half.prepared": { scenario: "half", passes: [5, 100] },
  "half.worked": { scenario: "half", passes: [5, 100] },
  "half.decided": { scenario: "half", passes: [5, 100] },
  "half.released": { scenario: "half", passes: [5, 100] },

  "inbox.claimed": { scenario: "consume", passes: [5, 80] },
  "inbox.handled": { scenario: "marked", passes: [5, 80] },
  "inbox.marked": { scenario: "marked", passes: [5, 80] },
  "inbox.in-effect": { scenario: "consume", passes: [5, 80] },
  "inbox.committed": { scenario: "consume", passes: [5, 80] },

  "settlement.due": { scenario: "consume", passes: [2, 12] },
  "settlement.handed": { scenario: "consume", passes: [2, 12] },

  "park.parking": { scenario: "park", passes: [1, 25] },
  "park.parked": { scenario: "park", passes: [1, 25] },
  "park.ran": { scenario: "park", passes: [1, 25] },
  "park.removed": { scenario: "park", passes: [1, 25] },

  "delay.sending": { scenario: "delay", passes: [1, 20] },
  "delay.confirmed": { scenario: "delay", passes: [1, 20] },

  "dead-letter.marked": { scenario: "poison", passes: [1, 20] },
  "dead-letter.confirmed": { scenario: "poison", passes: [1, 20] },

  "letters.revived": { scenario: "letters", passes: [1, 20] },
  "letters.confirmed": { scenario: "letters", passes: [1, 20] },
  "letters.acked": { scenario: "letters", passes: [1, 20] },
};

/** All of them, in the order of the list. */
export const POINTS: readonly Failpoint[] = Object.keys(PLANS) as Failpoint[];

/** Where a consumer dies. What a publisher's death is about lies between it and its stores, and is the same on any broker. */
export const OF_CONSUMERS: readonly Failpoint[] = POINTS.filter(
  (point) => SCENARIOS[PLANS[point]!.scenario].crashes === "consumer",
);
