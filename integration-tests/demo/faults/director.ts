import type { Incarnation, LedgerWriter } from "@tallymq/testkit/ledger";
import { busyMoment, HOLD_LOOK_MS, type Moment, type MomentOptions, sum } from "./moment.ts";
import type { FaultKind, FaultPlan } from "./plan.ts";

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

export interface DirectorOptions extends MomentOptions {
  readonly plan: readonly FaultPlan[];
  readonly messages: number;
  readonly ledger: LedgerWriter;
  /** Null: the moment for it never came. */
  blow(fault: FaultPlan): Promise<Blow | null>;
  /** Told before each blow, and after it was made good. */
  told(fault: FaultKind | null): void;
  /** Told of each fault that is over. */
  recorded(fault: FaultRecord): void;
}

/**
 * Publishers are held up when so much has come through under a fault, as a share of all messages: one that takes long to be
 * made good, as a broker's start may, would otherwise leave too little for the faults that are still to come. All faults
 * of a plan share this.
 */
const UNDER_FAULTS = 0.3;
/** And between them so much must come through: they are several faults then, not one. */
const BREATHS = 0.2;

/**
 * Fires each fault when its share of the messages is accepted and enough is in flight at that very moment, one after
 * the other. A fault that finds no such moment is not fired at all: it is not recorded, and the run has failed.
 */
export async function directFaults(options: DirectorOptions, signal: AbortSignal): Promise<void> {
  const { plan, messages } = options;
  let acceptedBefore = -Infinity;
  for (const fault of plan) {
    const due = Math.max(fault.share * messages, acceptedBefore + (BREATHS / plan.length) * messages);
    const at = await busyMoment(options, fault, due, signal);
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

/** The clock of the ledger's lines. */
function now(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
