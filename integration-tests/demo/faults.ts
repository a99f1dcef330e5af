import { setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, LedgerWriter } from "@tallymq/testkit/ledger";
import { seeded } from "./random.ts";

export type FaultKind = "broker-killed" | "connections-cut" | "consumer-killed";

/** One thing that will go wrong. */
export interface FaultPlan {
  readonly kind: FaultKind;
  /** When: at this share of all messages, 0 to 1, counted by what was accepted. Time says nothing on a slow machine. */
  readonly share: number;
  /** Which of the consumers, where one is killed. */
  readonly victim: number;
}

/** What happens at this moment, as the processes told it last (some 10 ms ago). */
export interface Moment {
  readonly accepted: number;
  /** Calls of `publish()` without an answer. */
  readonly publishing: number;
  /** All publishers that still run keep calls in flight. */
  readonly pressed: boolean;
  /** Handlers that run, by consumer. */
  readonly handling: readonly number[];
  /** Publishers have nothing left to publish. */
  readonly published: boolean;
}

/** What is done to whom. `strike` ends when the blow has fallen, `heal` when it is made good again. */
export interface Blow {
  readonly victim: Incarnation | null;
  strike(): Promise<void>;
  heal(): Promise<void>;
}

export interface FaultRecord {
  readonly kind: FaultKind;
  readonly victim: Incarnation | null;
  /** In flight when it was decided, as the processes told it: calls of `publish()` and running handlers. */
  readonly publishing: number;
  readonly handling: number;
  /** Microseconds of the host's monotonic clock: just before the blow, when it had fallen, and when it was made good. */
  readonly from: number;
  readonly struck: number;
  readonly until: number;
}

/** Broker killed, consumer killed, connections cut, broker killed: spread over the run, moved a little by the seed. */
export function planFaults(seed: number, consumers: number): readonly FaultPlan[] {
  const random = seeded(seed ^ 0x5eed);
  const at = (share: number): number => share + (random() - 0.5) * 0.08;
  const victim = Math.floor(random() * consumers);
  const kinds: readonly (readonly [FaultKind, number])[] = [
    ["broker-killed", 0.18],
    ["consumer-killed", 0.4],
    ["connections-cut", 0.58],
    ["broker-killed", 0.78],
  ];
  return kinds.map(([kind, share]) => ({ kind, share: at(share), victim }));
}

export interface DirectorOptions {
  readonly plan: readonly FaultPlan[];
  readonly messages: number;
  /** Whether calls of `publish()` wait for an answer, so that some must be open when a fault hits. */
  readonly awaitsAnswer: boolean;
  readonly ledger: LedgerWriter;
  moment(): Moment;
  blow(fault: FaultPlan): Blow;
  /** Asks the publishers to keep calls in flight at any moment from now on, or to go on as before. */
  press(hard: boolean): void;
  /** Told before each blow, and after it was made good. */
  told(fault: FaultKind | null): void;
  /** Told of each fault that is over. */
  recorded(fault: FaultRecord): void;
  /** A moment with enough in flight is waited for so long, in milliseconds. @default 10000 */
  readonly patience?: number;
}

/** How much has to be in flight: a fault that meets less says little. */
const LEAST = { publishing: 4, handling: 3, victim: 3 } as const;
/** Between two looks: until a fault is due, and then. */
const LOOK_MS = [10, 1] as const;
/** Publishers answer a press within a few milliseconds, or are waiting for their broker. */
const PRESS_MS = 250;
/** Between two faults so much must come through, as a share of all messages: they are four faults then, not one. */
const BREATH = 0.04;

/**
 * Fires each fault when its share of the messages is accepted and enough is in flight at that very moment, one after
 * the other. A fault that finds no such moment is not fired at all: it is not recorded, and the run has failed.
 */
export async function directFaults(options: DirectorOptions, signal: AbortSignal): Promise<void> {
  const { plan, messages, ledger, patience = 10_000 } = options;
  let acceptedBefore = -Infinity;
  for (const fault of plan) {
    const due = Math.max(fault.share * messages, acceptedBefore + BREATH * messages);
    const at = await busyMoment(options, fault, due, patience, signal);
    if (at === null) continue;
    options.told(fault.kind);
    const { victim, strike, heal } = options.blow(fault);
    const [publishing, handling] = [at.publishing, at.handling.reduce((sum, n) => sum + n, 0)];
    // The line is written before the blow: a kill that nobody announced is damage, not a fault.
    ledger.write({ op: "fault-begin", kind: fault.kind, victim, inflight: publishing + handling });
    const from = now();
    await strike();
    const struck = now();
    options.press(false);
    await heal();
    const until = now();
    ledger.write({ op: "fault-end", kind: fault.kind });
    options.recorded({ kind: fault.kind, victim, publishing, handling, from, struck, until });
    acceptedBefore = options.moment().accepted;
    options.told(null);
  }
}

/**
 * The moment at which the fault may be fired, with the publishers still pressed; null: there was none.
 *
 * Handlers are waited for first, at the ordinary pace, and only then are the publishers pressed, for a few milliseconds:
 * under pressure they publish as fast as the broker answers, and consumers that are not back yet after the last fault
 * could otherwise be waited for until nothing is left to publish.
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
  for (;;) {
    signal.throwIfAborted();
    const moment = options.moment();
    if (moment.accepted >= due || moment.published) {
      waitedSince ??= performance.now();
      if (isHandling(moment, fault)) {
        const pressed = toPress ? await pressedMoment(options, signal) : moment;
        if (pressed !== null && isHandling(pressed, fault)) return pressed;
        options.press(false);
      }
      if (moment.published || performance.now() - waitedSince > patience) return null;
    }
    await sleep(waitedSince === null ? LOOK_MS[0] : LOOK_MS[1]);
  }
}

/** When each publisher has said that it is pressed, so that its count is not one from before. */
async function pressedMoment(options: DirectorOptions, signal: AbortSignal): Promise<Moment | null> {
  options.press(true);
  const end = performance.now() + PRESS_MS;
  while (performance.now() < end) {
    signal.throwIfAborted();
    const moment = options.moment();
    if (moment.pressed && moment.publishing >= LEAST.publishing) return moment;
    await sleep(LOOK_MS[1]);
  }
  return null;
}

function isHandling({ handling }: Moment, { kind, victim }: FaultPlan): boolean {
  if (kind === "consumer-killed") return (handling[victim] ?? 0) >= LEAST.victim;
  return handling.reduce((sum, n) => sum + n, 0) >= LEAST.handling;
}

/** The clock of the ledger's lines. */
function now(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
