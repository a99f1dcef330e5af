import type { FaultEffects, FaultPoint, FaultPoints } from "./points.ts";
import { WORDS } from "./points.ts";

/** One fault that has struck. */
export interface FiredFault {
  readonly point: FaultPoint;
  /** As it was written: `"dropVerdict"`. */
  readonly action: FaultEffects[FaultPoint]["do"];
  /** The how-manieth occurrence of this point it was, since the script was made. */
  readonly nth: number;
  /** Monotonic milliseconds of the broker's clock. */
  readonly at: number;
  /** The message concerned; null where there is none. */
  readonly id: string | null;
}

/** A script of what goes wrong, and when. */
export interface Faults {
  /** The `nth` occurrence from now, once. @param nth @default 1 */
  on<P extends FaultPoint>(point: P, nth?: number): FaultPoints[P];
  /** Every `k`-th occurrence from now, until `clear`. */
  every<P extends FaultPoint>(point: P, k: number): FaultPoints[P];
  /** Every fault that has struck, in order. */
  readonly fired: readonly FiredFault[];
  /** Armed with `on` and not yet struck: at the end of a test this should be empty. */
  readonly pending: number;
  /** Disarms everything that has not struck. */
  clear(): void;
  /** The broker reads nothing more from any sender until `unblock`. */
  block(reason?: string): void;
  unblock(): void;
  /** Every session, of both kinds, is lost now. */
  loseSessions(): void;
}

interface Armed<P extends FaultPoint> {
  readonly effect: FaultEffects[P];
  /** Occurrences until it strikes. */
  wait: number;
  /** Strikes left, each on the next occurrence. */
  times: number;
  /** Occurrences between strikes; 0: it strikes on one occurrence only. */
  readonly every: number;
}

/** What the script does by itself, beside what is armed. */
export interface Levers {
  block(reason: string): void;
  unblock(): void;
  loseSessions(): void;
}

/** The script, as the adapter asks it at each point. */
export class FaultScript implements Faults {
  readonly fired: FiredFault[] = [];
  readonly #armed: Map<FaultPoint, Armed<FaultPoint>[]> = new Map();
  readonly #seen: Map<FaultPoint, number> = new Map();
  readonly #now: () => number;
  readonly #levers: Levers;

  constructor(now: () => number, levers: Levers) {
    this.#now = now;
    this.#levers = levers;
  }

  on<P extends FaultPoint>(point: P, nth = 1): FaultPoints[P] {
    whole("nth", nth);
    return wordsOf(point)((effect, times = 1) =>
      this.#arm(point, { effect, wait: nth, times: whole("times", times), every: 0 }),
    );
  }

  every<P extends FaultPoint>(point: P, k: number): FaultPoints[P] {
    whole("k", k);
    return wordsOf(point)((effect, times = 1) =>
      this.#arm(point, { effect, wait: k, times: whole("times", times), every: k }),
    );
  }

  get pending(): number {
    let pending = 0;
    for (const armed of this.#armed.values()) pending += armed.filter((a) => a.every === 0).length;
    return pending;
  }

  clear(): void {
    this.#armed.clear();
  }

  block(reason = "blocked by the fault script"): void {
    this.#levers.block(reason);
  }

  unblock(): void {
    this.#levers.unblock();
  }

  loseSessions(): void {
    this.#levers.loseSessions();
  }

  /** One occurrence of a point: what strikes now, in the order in which it was armed. */
  strike<P extends FaultPoint>(point: P, id: string | null): readonly FaultEffects[P][] {
    const nth = (this.#seen.get(point) ?? 0) + 1;
    this.#seen.set(point, nth);
    const armed = this.#armed.get(point) as Armed<P>[] | undefined;
    if (armed === undefined) return NOTHING;
    const strikes: FaultEffects[P][] = [];
    for (const fault of armed) {
      fault.wait -= 1;
      if (fault.wait > 0) continue;
      strikes.push(fault.effect);
      this.fired.push({ point, action: fault.effect.do, nth, at: this.#now(), id });
      if (fault.every > 0) fault.wait = fault.every;
      else {
        fault.times -= 1;
        fault.wait = 1;
      }
    }
    const left = armed.filter((fault) => fault.times > 0);
    if (left.length > 0) this.#armed.set(point, left);
    else this.#armed.delete(point);
    return strikes;
  }

  #arm<P extends FaultPoint>(point: P, fault: Armed<P>): void {
    const armed = this.#armed.get(point);
    if (armed === undefined) this.#armed.set(point, [fault]);
    else armed.push(fault);
  }
}

const NOTHING: readonly never[] = [];

function wordsOf<P extends FaultPoint>(point: P): (typeof WORDS)[P] {
  if (Object.hasOwn(WORDS, point)) return WORDS[point];
  throw new RangeError(`there is no point ${String(point)}; there are ${Object.keys(WORDS).join(", ")}`);
}

function whole(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new RangeError(`${name} must be a whole number from 1; got ${value}`);
}
