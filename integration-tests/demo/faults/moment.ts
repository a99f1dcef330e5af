import { setTimeout as sleep } from "node:timers/promises";
import type { FaultPlan } from "./plan.ts";

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

/** Who keeps something in flight at any moment, for a fault to hit. */
export type Pressed = "nobody" | "consumers" | "all";

/** What is needed to wait for one. */
export interface MomentOptions {
  /** Whether calls of `publish()` wait for an answer, so that some must be open when a fault hits. */
  readonly awaitsAnswer: boolean;
  moment(): Moment;
  /** Messages that are accepted and have no effect yet. */
  waiting(): number;
  press(who: Pressed): void;
  /** Publishers begin nothing new, or go on. */
  hold(held: boolean): void;
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
/** From one look to the next while publishers are held, or may have to be. */
export const HOLD_LOOK_MS = 20;
/**
 * With publishers held, so many times the patience: it costs no messages. After a fault the broker may let sessions in late, and
 * the queues that a killed consumer was at may stand still for as long as what it had is its own.
 */
const HELD_PATIENCE = 3;
/** Publishers are held when so many messages wait, and nobody handles one. */
const LEAST_WAITING = 30;

/**
 * The moment at which the fault may be fired, with everybody still pressed; null: there was none.
 *
 * Consumers are pressed first, and publishers only when handlers are at work, for a few milliseconds: under pressure they
 * publish as fast as the broker answers. While consumers are not back yet after the last fault publishers are held, as soon
 * as enough waits for them: nothing would be left to publish, or to handle, when they are.
 */
export async function busyMoment(
  options: MomentOptions,
  fault: FaultPlan,
  due: number,
  signal: AbortSignal,
): Promise<Moment | null> {
  const { patience = 10_000 } = options;
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
        const waiting = options.waiting();
        const handled = isHandling(moment, fault);
        hold(!handled && !moment.published && waiting >= LEAST_WAITING);
        if (handled) {
          const pressed = toPress ? await pressedMoment(options, fault, signal) : moment;
          if (pressed !== null && isHandling(pressed, fault)) return pressed;
          options.press("consumers");
        }
        if (moment.published && (toPress || waiting <= 0)) return null;
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
async function relayed({ moment, hold }: MomentOptions, patience: number, signal: AbortSignal): Promise<void> {
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
  options: MomentOptions,
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

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
