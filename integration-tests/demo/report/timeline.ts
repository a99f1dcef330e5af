import { LedgerReader, type Incarnation } from "@tallymq/testkit/ledger";
import type { FaultRecord } from "../faults/director.ts";
import type { FaultKind } from "../faults/plan.ts";

/** What a run looked like over time, counted from the ledger's lines. Times are seconds since the first call of `publish()`. */
export interface Timeline {
  readonly seconds: number;
  /** Length of an interval, in seconds. */
  readonly step: number;
  readonly rows: readonly TimelineRow[];
  readonly faults: readonly TimelineFault[];
}

export interface TimelineRow {
  /** End of the interval. */
  readonly at: number;
  /** Published, and not yet both answered and in effect (either may come first); at the interval's end. */
  readonly inFlight: number;
  /** Of these, calls without an answer. */
  readonly publishing: number;
  /** Within the interval. */
  readonly accepted: number;
  readonly effects: number;
}

export interface TimelineFault {
  readonly kind: FaultKind;
  readonly victim: Incarnation | null;
  readonly from: number;
  readonly until: number;
  /** At `from`, as the lines of that moment say it: all, calls without an answer, and running handlers (the victim's own). */
  readonly inFlight: number;
  readonly publishing: number;
  readonly handling: number;
  /** Rows that waited in the outbox, where the fault is about them. */
  readonly waiting: number;
  readonly accepts: Recovery;
  readonly effects: Recovery;
}

/** The longest silence that began under the fault, and how long after its end that was over; null: it never was. */
export interface Recovery {
  readonly silence: number | null;
  readonly after: number | null;
  /** The same `after` for the process that was silent longest, of those that had something left to do. */
  readonly slowest: number | null;
}

const STEP = 100_000; // µs
const MOST_ROWS = 1_200;
/** A silence that begins so long after the fault's end is no longer its doing, µs. */
const AFTERMATH = 500_000;

export function timelineOf(folder: string, faults: readonly FaultRecord[]): Timeline {
  const events = new Events();
  const reader = new LedgerReader(folder);
  for (const name of reader.names) events.read(reader, name);
  const { invoked, answered, accepted, over, effects, delivered, handled } = events.sorted();
  const origin = invoked[0] ?? 0;
  const end = Math.max(invoked.at(-1) ?? 0, answered.at(-1) ?? 0, effects.at(-1) ?? 0);
  const step = STEP * Math.max(1, Math.ceil((end - origin) / STEP / MOST_ROWS));
  const seconds = (mono: number): number => (mono - origin) / 1e6;

  const publishing = (at: number): number => before(invoked, at) - before(answered, at);
  const inFlight = (at: number): number => before(invoked, at) - before(over, at);
  const rows: TimelineRow[] = [];
  for (let from = origin; from <= end; from += step) {
    const until = from + step;
    rows.push({
      at: seconds(until),
      inFlight: inFlight(until),
      publishing: publishing(until),
      accepted: before(accepted, until) - before(accepted, from),
      effects: before(effects, until) - before(effects, from),
    });
  }
  return {
    seconds: seconds(end),
    step: step / 1e6,
    rows,
    // One that lies within another is over before that.
    faults: faults
      .toSorted((a, b) => a.from - b.from)
      .map((fault) => ({
        kind: fault.kind,
        victim: fault.victim,
        from: seconds(fault.from),
        until: seconds(fault.until),
        inFlight: inFlight(fault.from),
        publishing: fault.kind === "publisher-killed" ? events.cutShortOf(fault.victim) : publishing(fault.from),
        handling:
          fault.kind === "consumer-killed"
            ? events.cutShortOf(fault.victim)
            : before(delivered, fault.from) - before(handled, fault.from),
        waiting: fault.waiting,
        accepts: recovery(accepted, events.acceptsByProcess, fault),
        effects: recovery(effects, events.effectsByProcess, fault),
      })),
  };
}

/** The moments at which things happened, µs, each kind by itself. */
class Events {
  readonly invoked: number[] = [];
  readonly answered: number[] = [];
  readonly accepted: number[] = [];
  readonly delivered: number[] = [];
  readonly handled: number[] = [];
  readonly acceptsByProcess: Float64Array[] = [];
  readonly effectsByProcess: Float64Array[] = [];
  readonly #accepts: Map<string, number> = new Map();
  readonly #firstEffects: Map<string, number> = new Map();
  readonly #over: number[] = [];
  /** Handlers, or calls of `publish()`, that never ended, by file. */
  readonly #cutShort: Map<string, number> = new Map();

  read(reader: LedgerReader, name: string): void {
    let running = 0;
    const open = new Set<string>();
    const [accepts, effects]: [number[], number[]] = [[], []];
    const { proc, epoch, lastMono } = reader.read(name, (line) => {
      switch (line.op) {
        case "invoke":
          open.add(line.id);
          return void this.invoked.push(line.mono);
        case "accepted":
          open.delete(line.id);
          this.accepted.push(line.mono);
          accepts.push(line.mono);
          this.#accepts.set(line.id, line.mono);
          return void this.answered.push(line.mono);
        case "rejected":
          open.delete(line.id);
          this.#over.push(line.mono);
          return void this.answered.push(line.mono);
        case "deliver":
          running += 1;
          return void this.delivered.push(line.mono);
        case "effect":
          effects.push(line.mono);
          running -= 1;
          return this.#handled(line.id, line.mono);
        case "dedup":
          // Also of what a killed process did and could not write down any more: the mark says that the effect is there.
          running -= 1;
          return this.#handled(line.id, line.mono);
        default:
          return;
      }
    });
    this.#cutShort.set(`${proc}#${epoch}`, running + open.size);
    this.acceptsByProcess.push(Float64Array.from(accepts));
    this.effectsByProcess.push(Float64Array.from(effects));
    // A killed process's handlers run no longer.
    for (; running > 0; running -= 1) this.handled.push(lastMono);
    // Nor does anybody wait for its calls: each is made anew in its next life.
    for (const times of [this.answered, this.#over]) for (const _ of open) times.push(lastMono);
  }

  #handled(id: string, mono: number): void {
    const known = this.#firstEffects.get(id);
    if (known === undefined || mono < known) this.#firstEffects.set(id, mono);
    this.handled.push(mono);
  }

  cutShortOf(victim: Incarnation | null): number {
    return victim === null ? 0 : (this.#cutShort.get(`${victim.proc}#${victim.epoch}`) ?? 0);
  }

  sorted(): Readonly<
    Record<"invoked" | "answered" | "accepted" | "over" | "effects" | "delivered" | "handled", Float64Array>
  > {
    const sort = (times: Iterable<number>): Float64Array => Float64Array.from(times).sort();
    for (const [id, accepted] of this.#accepts) {
      const effect = this.#firstEffects.get(id);
      if (effect !== undefined) this.#over.push(Math.max(accepted, effect));
    }
    return {
      invoked: sort(this.invoked),
      answered: sort(this.answered),
      accepted: sort(this.accepted),
      over: sort(this.#over),
      effects: sort(this.#firstEffects.values()),
      delivered: sort(this.delivered),
      handled: sort(this.handled),
    };
  }
}

/** How many of the sorted times are at most `at`. */
function before(times: Float64Array, at: number): number {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[middle]! <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

function recovery(all: Float64Array, byProcess: readonly Float64Array[], fault: FaultRecord): Recovery {
  const whole = silence(all, fault);
  const each = byProcess.map((times) => silence(times, fault)).filter((one) => one !== null);
  return {
    silence: whole === null ? null : whole.length / 1e6,
    after: whole === null ? null : whole.after / 1e6,
    slowest: each.length === 0 ? null : Math.max(...each.map(({ after }) => after)) / 1e6,
  };
}

/** The longest distance between two of the times that begins under the fault; null where nothing follows it. */
function silence(
  times: Float64Array,
  { from, until }: FaultRecord,
): { readonly length: number; readonly after: number } | null {
  let longest = 0;
  let over: number | null = null;
  for (
    let next = Math.max(1, before(times, from));
    next < times.length && times[next - 1]! <= until + AFTERMATH;
    next++
  ) {
    const gap = times[next]! - times[next - 1]!;
    if (gap > longest) [longest, over] = [gap, times[next]!];
  }
  return over === null ? null : { length: longest, after: Math.max(0, over - until) };
}
