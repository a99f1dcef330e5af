import type { Incarnation } from "./lines.ts";

/** What happened within one interval of the run (one with nothing is left out); `at`: milliseconds since the first one. */
export interface TimelineRow {
  readonly at: number;
  readonly invoked: number;
  readonly accepted: number;
  /** Calls that rejected or ended unknown, and calls that died with their process. */
  readonly failed: number;
  readonly delivered: number;
  readonly effects: number;
  /** Calls without an answer at the interval's end. */
  readonly inFlight: number;
}

/** A fault; times are milliseconds since the first line of the run. */
export interface TimelineFault {
  readonly kind: string;
  readonly victim: Incarnation | null;
  readonly at: number;
  /** null: it was not ended by name (a kill, say). */
  readonly until: number | null;
  /** Messages in flight when it began, as the director said. */
  readonly inflight: number | null;
}

/** The run as a chart shows it. */
export interface Timeline {
  /** Length of an interval in milliseconds. */
  readonly step: number;
  readonly rows: readonly TimelineRow[];
  readonly faults: readonly TimelineFault[];
  /** When the last fault was over; null: never. */
  readonly healedAt: number | null;
}

export const TICKS = ["invoked", "accepted", "failed", "delivered", "effects"] as const;
export type Tick = (typeof TICKS)[number];
type Bin = Record<Tick, number>;

const FIRST_STEP = 100_000; // µs
const MAX_BINS = 1200;

/** Collects a run's timeline in bounded memory: at 1,200 intervals each two become one. */
export class TimelineRecorder {
  #step = FIRST_STEP;
  #bins: Map<number, Bin> = new Map();
  #healed: number | null = null;
  #last: { index: number; bin: Bin } | null = null;
  #faults: { kind: string; victim: Incarnation | null; from: number; to: number | null; inflight: number | null }[] =
    [];

  count(tick: Tick, mono: number, n: number = 1): void {
    const index = Math.floor(mono / this.#step);
    const bin = this.#last?.index === index ? this.#last.bin : this.#bin(mono);
    bin[tick] += n;
  }

  faultBegins(kind: string, mono: number, victim: Incarnation | null, inflight: number | null): void {
    if (this.#faults.length < 10_000) this.#faults.push({ kind, victim, from: mono, to: null, inflight });
  }

  faultEnds(kind: string, mono: number): void {
    const open = this.#faults.find((fault) => fault.kind === kind && fault.to === null);
    if (open !== undefined) open.to = mono;
  }

  heal(mono: number): void {
    this.#healed = Math.max(this.#healed ?? 0, mono);
  }

  timeline(): Timeline {
    const indexes = [...this.#bins.keys()].sort((a, b) => a - b);
    const origin = (indexes[0] ?? 0) * this.#step;
    const since = (mono: number): number => Math.max(0, (mono - origin) / 1000);
    let inFlight = 0;
    const rows = indexes.map((index): TimelineRow => {
      const bin = this.#bins.get(index)!;
      inFlight += bin.invoked - bin.accepted - bin.failed;
      return { at: since(index * this.#step), ...bin, inFlight };
    });
    const faults = this.#faults
      .map(({ from, to, ...fault }): TimelineFault => ({
        ...fault,
        at: since(from),
        until: to === null ? null : since(to),
      }))
      .sort((a, b) => a.at - b.at);
    return { step: this.#step / 1000, rows, faults, healedAt: this.#healed === null ? null : since(this.#healed) };
  }

  #bin(mono: number): Bin {
    const known = this.#bins.get(Math.floor(mono / this.#step));
    while (known === undefined && this.#bins.size >= MAX_BINS) this.#halve();
    const index = Math.floor(mono / this.#step); // halving has changed the step
    const bin = this.#bins.get(index) ?? { invoked: 0, accepted: 0, failed: 0, delivered: 0, effects: 0 };
    this.#bins.set(index, bin);
    this.#last = { index, bin };
    return bin;
  }

  #halve(): void {
    const bins = new Map<number, Bin>();
    for (const [index, bin] of this.#bins) {
      const half = bins.get(Math.floor(index / 2));
      if (half === undefined) bins.set(Math.floor(index / 2), bin);
      else for (const tick of TICKS) half[tick] += bin[tick];
    }
    this.#bins = bins;
    this.#step *= 2;
  }
}
