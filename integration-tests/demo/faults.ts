import { setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, LedgerWriter } from "@tallymq/testkit/ledger";
import { seeded } from "../workload/random.ts";

/**
 * `broker-away`: killed, and not started again for so long that messages are stored instead. `leader-killed`: of several
 * nodes the one that leads. `proxy-killed`: not the broker, but what clients speak to. `rebalance`: a consumer leaves its group and comes back.
 */
export type FaultKind =
  | "broker-killed"
  | "broker-away"
  | "leader-killed"
  | "proxy-killed"
  | "rebalance"
  | "connections-cut"
  | "publisher-killed"
  | "consumer-killed"
  | "relay-killed";

/** One thing that will go wrong. */
export interface FaultPlan {
  readonly kind: FaultKind;
  /** When: at this share of all messages, 0 to 1, counted by what was accepted. Time says nothing on a slow machine. */
  readonly share: number;
  /** Which of the publishers or consumers, where one is killed. (Who relays is not ours to choose.) */
  readonly victim: number;
  /** What goes wrong before this one is made good. */
  readonly within: FaultPlan | null;
}

/** What happens at this moment, as the processes told it last (some 10 ms ago). */
export interface Moment {
  readonly accepted: number;
  /** Calls of `publish()` without an answer, by publisher. */
  readonly publishing: readonly number[];
  /** All publishers that still have something to publish keep calls in flight. */
  readonly pressed: boolean;
  /** Handlers that run, by consumer. */
  readonly handling: readonly number[];
  /** Publishers have nothing left to publish. */
  readonly published: boolean;
  /** One of them has the outbox's lease, or there is no outbox. */
  readonly relaying: boolean;
}

/** What is done to whom. `strike` ends when the blow has fallen, `heal` when it is made good again. */
export interface Blow {
  readonly victim: Incarnation | null;
  /** Rows that wait in the outbox, where that is what the blow is about. */
  readonly waiting: number;
  strike(): Promise<void>;
  heal(): Promise<void>;
}

export interface FaultRecord {
  readonly kind: FaultKind;
  readonly victim: Incarnation | null;
  /** In flight when it was decided, as the processes told it: calls of `publish()` and running handlers. */
  readonly publishing: number;
  readonly handling: number;
  readonly waiting: number;
  /** Microseconds of the host's monotonic clock: just before the blow, when it had fallen, and when it was made good. */
  readonly from: number;
  readonly struck: number;
  readonly until: number;
}

/** Who keeps something in flight at any moment, for a fault to hit. */
export type Pressed = "nobody" | "consumers" | "all";

/**
 * Broker killed, publisher killed, consumer killed, connections cut, and the broker away: spread over the run, moved a
 * little by the seed. While it is away the process that is to send what was stored meanwhile is killed as well.
 *
 * Where clients speak to a proxy, that is killed instead of the connections being cut.
 *
 * Of a cluster the leader is killed, twice, and it is never away as a whole; between the two the group rebalances again
 * and again.
 */
export function planFaults(
  seed: number,
  of: {
    readonly publishers: number;
    readonly consumers: number;
    readonly relays: boolean;
    readonly cluster: boolean;
    readonly proxy: boolean;
  },
): readonly FaultPlan[] {
  const random = seeded(seed ^ 0x5eed);
  const plan = (kind: FaultKind, share: number, victims: number, within: FaultPlan | null = null): FaultPlan => ({
    kind,
    share: share + (random() - 0.5) * 0.06,
    victim: Math.floor(random() * victims),
    within,
  });
  if (of.cluster)
    return [
      plan("leader-killed", 0.12, 1),
      plan("publisher-killed", 0.26, of.publishers),
      plan("consumer-killed", 0.38, of.consumers),
      plan("connections-cut", 0.5, 1),
      ...[0.6, 0.64, 0.68, 0.72].map((share) => plan("rebalance", share, of.consumers)),
      plan("leader-killed", 0.84, 1),
    ];
  return [
    plan("broker-killed", 0.14, 1),
    plan("publisher-killed", 0.3, of.publishers),
    plan("consumer-killed", 0.44, of.consumers),
    plan(of.proxy ? "proxy-killed" : "connections-cut", 0.58, 1),
    plan("broker-away", 0.74, 1, of.relays ? plan("relay-killed", 0.74, 1) : null),
  ];
}

/** All of a plan, those within others too. */
export function flat(plan: readonly FaultPlan[]): readonly FaultPlan[] {
  return plan.flatMap((fault) => [fault, ...(fault.within === null ? [] : flat([fault.within]))]);
}

export interface DirectorOptions {
  readonly plan: readonly FaultPlan[];
  readonly messages: number;
  /** Whether calls of `publish()` wait for an answer, so that some must be open when a fault hits. */
  readonly awaitsAnswer: boolean;
  readonly ledger: LedgerWriter;
  moment(): Moment;
  /** Messages that are accepted and have no effect yet. */
  waiting(): number;
  /** Null: the moment for it never came. */
  blow(fault: FaultPlan): Promise<Blow | null>;
  press(who: Pressed): void;
  /** Publishers begin nothing new, or go on. */
  hold(held: boolean): void;
  /** Told before each blow, and after it was made good. */
  told(fault: FaultKind | null): void;
  /** Told of each fault that is over. */
  recorded(fault: FaultRecord): void;
  /** A moment with enough in flight is waited for so long, in milliseconds; longer where publishers are held meanwhile. @default 10000 */
  readonly patience?: number;
}

/** How much has to be in flight: a fault that meets less says little. Handlers of one database run one at a time. */
const LEAST = { publishing: 4, calls: 3, handling: 2, victim: 1 } as const;
/** Between two looks: until a fault is due, and then. */
const LOOK_MS = [10, 1] as const;
/** Handlers that began before a press have ended by then. */
const SETTLE_MS = 80;
/** Publishers answer a press within a few milliseconds, or are waiting for their broker. */
const PRESS_MS = 250;
/**
 * Publishers are held up when so much has come through under a fault, as a share of all messages: one that takes long to be
 * made good, as a broker's start may, would otherwise leave too little for the faults that are still to come. All faults
 * of a plan share this.
 */
const UNDER_FAULTS = 0.3;
const HOLD_LOOK_MS = 20;
/**
 * With publishers held, so many times the patience: it costs no messages. After a fault the broker may let sessions in late, and
 * the queues that a killed consumer was at may stand still for as long as what it had is its own.
 */
const HELD_PATIENCE = 3;
/** Publishers are held when so many messages wait, and nobody handles one. */
const LEAST_WAITING = 30;
/** And between them so much must come through: they are several faults then, not one. */
const BREATHS = 0.2;

/**
 * Fires each fault when its share of the messages is accepted and enough is in flight at that very moment, one after
 * the other. A fault that finds no such moment is not fired at all: it is not recorded, and the run has failed.
 */
export async function directFaults(options: DirectorOptions, signal: AbortSignal): Promise<void> {
  const { plan, messages, patience = 10_000 } = options;
  let acceptedBefore = -Infinity;
  for (const fault of plan) {
    const due = Math.max(fault.share * messages, acceptedBefore + (BREATHS / plan.length) * messages);
    const at = await busyMoment(options, fault, due, patience, signal);
    if (at !== null) await fire(options, fault, at);
    options.press("nobody");
    if (at !== null) acceptedBefore = options.moment().accepted;
  }
}

async function fire(options: DirectorOptions, fault: FaultPlan, at: Moment): Promise<void> {
  const { ledger } = options;
  const blow = await options.blow(fault);
  if (blow === null) return;
  const { victim, waiting, strike, heal } = blow;
  options.told(fault.kind);
  const [publishing, handling] = [sum(at.publishing), sum(at.handling)];
  // The line is written before the blow: a kill that nobody announced is damage, not a fault.
  ledger.write({ op: "fault-begin", kind: fault.kind, victim, inflight: publishing + handling + waiting });
  const from = now();
  await strike();
  const struck = now();
  options.press("nobody");
  const most = options.moment().accepted + (UNDER_FAULTS / options.plan.length) * options.messages;
  const look = setInterval(() => options.moment().accepted > most && options.hold(true), HOLD_LOOK_MS);
  try {
    if (fault.within !== null) await fire(options, fault.within, options.moment());
    await heal();
  } finally {
    clearInterval(look);
    options.hold(false);
  }
  const until = now();
  ledger.write({ op: "fault-end", kind: fault.kind });
  options.recorded({ kind: fault.kind, victim, publishing, handling, waiting, from, struck, until });
  options.told(null);
}

/**
 * The moment at which the fault may be fired, with everybody still pressed; null: there was none.
 *
 * Consumers are pressed first, and publishers only when handlers are at work, for a few milliseconds: under pressure they
 * publish as fast as the broker answers. While consumers are not back yet after the last fault publishers are held, as soon
 * as enough waits for them: nothing would be left to publish, or to handle, when they are.
 */
async function busyMoment(
  options: DirectorOptions,
  fault: FaultPlan,
  due: number,
  patience: number,
  signal: AbortSignal,
): Promise<Moment | null> {
  // Where publish() has no answer to wait for, nothing can be kept in flight; and a killed consumer meets no publisher.
  const toPress = options.awaitsAnswer && fault.kind !== "consumer-killed";
  let waitedSince: number | null = null;
  let held = false;
  const hold = (on: boolean): void => {
    if (on !== held) options.hold((held = on));
  };
  try {
    for (;;) {
      signal.throwIfAborted();
      const moment = options.moment();
      if (moment.accepted >= due || moment.published) {
        if (waitedSince === null) {
          if (fault.within?.kind === "relay-killed" && !moment.relaying) await relayed(options, patience, signal);
          options.press("consumers");
          waitedSince = performance.now();
          // Those that began before the press do not stand still, and are over before the blow.
          if (fault.kind === "consumer-killed") await sleep(SETTLE_MS);
          continue;
        }
        if (isHandling(moment, fault)) {
          hold(false);
          const pressed = toPress ? await pressedMoment(options, fault, signal) : moment;
          if (pressed !== null && isHandling(pressed, fault)) return pressed;
          options.press("consumers");
        }
        const waiting = options.waiting();
        if (moment.published && (toPress || waiting <= 0)) return null;
        hold(waiting >= LEAST_WAITING && !moment.published);
        if (performance.now() - waitedSince > (held ? HELD_PATIENCE : 1) * patience) return null;
      }
      await sleep(waitedSince === null ? LOOK_MS[0] : LOOK_MS[1]);
    }
  } finally {
    hold(false);
  }
}

/**
 * Until somebody relays, for whom the outage is to be fatal: the last fault may have cost every publisher its session, and in
 * the outage nobody gets another one. What they publish until then is stored, and would all be through too early.
 */
async function relayed({ moment, hold }: DirectorOptions, patience: number, signal: AbortSignal): Promise<void> {
  const end = performance.now() + HELD_PATIENCE * patience;
  hold(true);
  try {
    while (!moment().relaying && performance.now() < end) await sleep(HOLD_LOOK_MS, undefined, { signal });
  } finally {
    hold(false);
  }
}

/** When each publisher has said that it is pressed, so that its count is not one from before. */
async function pressedMoment(
  options: DirectorOptions,
  { kind, victim }: FaultPlan,
  signal: AbortSignal,
): Promise<Moment | null> {
  options.press("all");
  const end = performance.now() + PRESS_MS;
  while (performance.now() < end) {
    signal.throwIfAborted();
    const moment = options.moment();
    const calls = kind === "publisher-killed" ? (moment.publishing[victim] ?? 0) : LEAST.calls;
    if (moment.pressed && sum(moment.publishing) >= LEAST.publishing && calls >= LEAST.calls) return moment;
    await sleep(LOOK_MS[1]);
  }
  return null;
}

function isHandling({ handling }: Moment, { kind }: FaultPlan): boolean {
  if (kind === "publisher-killed") return true;
  // The busiest is killed, whichever the plan would have: a kill of an idle one proves nothing.
  if (kind === "consumer-killed") return Math.max(...handling) >= LEAST.victim;
  return sum(handling) >= LEAST.handling;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}

/** The clock of the ledger's lines. */
function now(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
