import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LedgerWriter, writeFinal } from "@tallymq/testkit/ledger";
import type { Settings } from "./arguments.ts";
import type { DemoBroker } from "./brokers/broker.ts";
import { startBroker } from "./brokers/index.ts";
import { CLIENT } from "./clients/index.ts";
import { type Blow, directFaults, type FaultKind, type FaultPlan, type FaultRecord, type Moment, planFaults } from "./faults.ts";
import { judgeRun, type DemoReport } from "./judge.ts";
import { createEffects, type Effects } from "./workload/effects.ts";
import { Fleet } from "./workload/fleet.ts";
import type { Bug, Job } from "./workload/job.ts";

/** What a test may change; the command line has none of it. */
export interface Variation {
  /** Messages a second in all. @default 1500 */
  readonly rate?: number;
  readonly bug?: Bug;
  /** A moment with enough in flight is waited for so long, in milliseconds. @default 10000 */
  readonly patience?: number;
  readonly plan?: readonly FaultPlan[];
}

/** What is going on, for whoever shows it. */
export interface Progress {
  readonly messages: number;
  readonly accepted: number;
  readonly effects: number;
  readonly inFlight: number;
  readonly fault: FaultKind | null;
  readonly phase: "publishing" | "draining" | "judging";
}

export interface Watcher {
  /** A step before the workload begins that may take long. */
  step(line: string): void;
  progress(progress: Progress): void;
}

const PUBLISHERS = 3;
const CONSUMERS = 3;
const RATE = 1_500;
/** Calls without an answer, for each publisher. */
const WINDOW = 300;
const DOWN_MS = 500;
const SHOW_MS = 100;
/** After the last accept all effects must be there; without any new one for so long nothing more is coming. */
const QUIET_MS = 6_000;
const DRAIN_MS = 30_000;
const STOP_MS = 12_000;
/** For everything beside the publishing itself. */
const SLACK_MS = 90_000;

/**
 * One run from an empty broker to a verdict. It ends by itself whatever happens within: every wait has a bound, and all
 * of them together have one. No process of its own is left when it settles; its folder only if the verdict is not VALID.
 *
 * @throws when the broker or the processes cannot be started, and the signal's reason
 */
export async function runDemo(settings: Settings, watcher: Watcher, signal: AbortSignal, variation: Variation = {}): Promise<DemoReport> {
  const folder = mkdtempSync(join(tmpdir(), "tally-demo-"));
  let keep = false;
  try {
    const report = await new Run(settings, variation, watcher, folder).make(signal);
    keep = report.figures.verdict !== "VALID";
    return report;
  } finally {
    if (!keep) rmSync(folder, { recursive: true, force: true });
  }
}

class Run {
  readonly #settings: Settings;
  readonly #variation: Variation;
  readonly #watcher: Watcher;
  readonly #folder: string;
  readonly #run = `demo-${process.pid}-${Date.now().toString(36)}`;
  /** What makes the verdict UNKNOWN beside what the judge sees. */
  readonly #doubts: string[] = [];
  readonly #faults: FaultRecord[] = [];
  #fault: FaultKind | null = null;
  #effects = 0;

  constructor(settings: Settings, variation: Variation, watcher: Watcher, folder: string) {
    this.#settings = settings;
    this.#variation = variation;
    this.#watcher = watcher;
    this.#folder = folder;
  }

  async make(signal: AbortSignal): Promise<DemoReport> {
    const { broker: name, messages } = this.#settings;
    const [logs, data] = [join(this.#folder, "logs"), join(this.#folder, "broker")];
    for (const each of [logs, data]) mkdirSync(each);
    await using broker = await startBroker(name, data, (line) => this.#watcher.step(line));
    signal.throwIfAborted();

    // From here on the run is bounded; the images and engines before may have to be downloaded.
    const over = new AbortController();
    const limit = SLACK_MS + (messages / this.#rate) * 2_000;
    const timer = setTimeout(() => over.abort(new Error(`not over after ${limit / 1000} s`)), limit);
    signal.addEventListener("abort", () => over.abort(signal.reason), { once: true });
    try {
      using effects = createEffects(this.#path("effects.db"));
      using ledger = new LedgerWriter({ folder: this.#path("ledger"), run: this.#run, proc: "director" });
      await using fleet = new Fleet(logs, (reason) => {
        this.#doubts.push(reason);
        over.abort(new Error(reason));
      });
      const started = performance.now();
      await this.#workload(broker, fleet, effects, ledger, over.signal).catch((error: unknown) => {
        signal.throwIfAborted();
        if (!over.signal.aborted) throw error;
        this.#doubt((error as Error).message);
      });
      const seconds = (performance.now() - started) / 1000;
      this.#show(fleet, "judging");
      await fleet[Symbol.asyncDispose]();
      await writeFinal(ledger, { effects: effects.rows(), deadLetters: [], remaining: await broker.backlog() });
      ledger.close();
      return await judgeRun({
        settings: this.#settings,
        brokerTitle: broker.title,
        folder: this.#folder,
        ledger: this.#path("ledger"),
        client: CLIENT[this.#settings.client],
        planned: this.#plan.length,
        faults: this.#faults,
        incarnations: fleet.members.map(({ incarnation }) => incarnation),
        resends: fleet.sum("publisher", "resends"),
        seconds,
        doubts: this.#doubts,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async #workload(broker: DemoBroker, fleet: Fleet, effects: Effects, ledger: LedgerWriter, signal: AbortSignal): Promise<void> {
    const show = setInterval(() => {
      this.#effects = effects.handled();
      this.#show(fleet, published() ? "draining" : "publishing");
    }, SHOW_MS);
    const publishers = (): Promise<unknown> => Promise.all(fleet.of("publisher").map(({ ended }) => ended));
    const published = (): boolean => fleet.of("publisher").length > 0 && fleet.of("publisher").every(({ running }) => !running);
    try {
      // Consumers first: an order must not come before there is a queue for it.
      for (let n = 0; n < CONSUMERS; n++) fleet.start(this.#job(broker, "consumer", n));
      await orAborted(Promise.all(fleet.members.map(({ ready }) => ready)), signal);
      for (let n = 0; n < PUBLISHERS; n++) fleet.start(this.#job(broker, "publisher", n));
      await orAborted(Promise.all(fleet.members.map(({ ready }) => ready)), signal);
      for (const member of fleet.of("publisher")) member.tell({ type: "go" });

      await this.#makeFaults(broker, fleet, ledger, published, signal);
      await orAborted(publishers(), signal);
      ledger.write({ op: "heal" });
      await this.#drain(broker, effects, fleet.sum("publisher", "accepted"), signal);
      await orAborted(fleet.stop("consumer", STOP_MS), signal);
    } finally {
      clearInterval(show);
    }
  }

  async #makeFaults(broker: DemoBroker, fleet: Fleet, ledger: LedgerWriter, published: () => boolean, signal: AbortSignal): Promise<void> {
    const consumer = (n: number) => fleet.of("consumer").findLast(({ job }) => job.proc === procOf("consumer", n))!;
    const blow = ({ kind, victim }: FaultPlan): Blow => {
      switch (kind) {
        case "broker-killed":
          return {
            victim: null,
            strike: () => broker.kill(),
            heal: async () => {
              await sleep(DOWN_MS);
              await broker.restart();
            },
          };
        case "connections-cut":
          return { victim: null, strike: () => broker.cut(), heal: async () => {} };
        case "consumer-killed": {
          const member = consumer(victim);
          return {
            victim: member.incarnation,
            strike: () => member.kill(),
            heal: async () => void (await orAborted(fleet.replace(member), signal)),
          };
        }
      }
    };
    const moment = (): Moment => ({
      accepted: fleet.sum("publisher", "accepted"),
      publishing: fleet.sum("publisher", "inFlight"),
      handling: Array.from({ length: CONSUMERS }, (_, n) => consumer(n).status.inFlight),
      published: published(),
    });
    const told = (fault: FaultKind | null): void => void (this.#fault = fault);
    const { awaitsAnswer } = CLIENT[this.#settings.client];
    const recorded = (fault: FaultRecord): void => void this.#faults.push(fault);
    const { patience = 10_000 } = this.#variation;
    const { messages } = this.#settings;
    await directFaults({ plan: this.#plan, messages, awaitsAnswer, ledger, moment, blow, told, recorded, patience }, signal);
  }

  /** Waits until every accepted order is handled; ends early when nothing moves any more and the broker has nothing left. */
  async #drain(broker: DemoBroker, effects: Effects, accepted: number, signal: AbortSignal): Promise<void> {
    const end = performance.now() + DRAIN_MS;
    let [handled, since] = [effects.handled(), performance.now()];
    while (handled < accepted && performance.now() < end) {
      signal.throwIfAborted();
      if (performance.now() - since > QUIET_MS) {
        const left = (await broker.backlog()).reduce((sum, { n }) => sum + n, 0);
        if (left === 0) return;
        since = performance.now();
      }
      await sleep(50);
      const now = effects.handled();
      if (now !== handled) [handled, since] = [now, performance.now()];
    }
  }

  #job(broker: DemoBroker, role: Job["role"], n: number): Job {
    const { client, seed, messages } = this.#settings;
    const share = { first: n, step: PUBLISHERS, end: messages, rate: this.#rate / PUBLISHERS, window: WINDOW };
    return {
      role,
      proc: procOf(role, n),
      epoch: 1,
      run: this.#run,
      ledger: this.#path("ledger"),
      effects: this.#path("effects.db"),
      client,
      endpoint: broker.endpoint,
      seed,
      share: role === "publisher" ? share : null,
      bug: role === "consumer" ? (this.#variation.bug ?? null) : null,
    };
  }

  get #rate(): number {
    return this.#variation.rate ?? RATE;
  }

  get #plan(): readonly FaultPlan[] {
    return this.#variation.plan ?? planFaults(this.#settings.seed, CONSUMERS);
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #doubt(reason: string): void {
    if (!this.#doubts.includes(reason)) this.#doubts.push(reason);
  }

  #show(fleet: Fleet, phase: Progress["phase"]): void {
    const [accepted, invoked] = [fleet.sum("publisher", "accepted"), fleet.sum("publisher", "invoked")];
    const inFlight = Math.max(0, invoked - fleet.sum("publisher", "rejected") - this.#effects);
    this.#watcher.progress({ messages: this.#settings.messages, accepted, effects: this.#effects, inFlight, fault: this.#fault, phase });
  }
}

function procOf(role: Job["role"], n: number): string {
  return `${role}-${n + 1}`;
}

/** Settles with `work`, or rejects with the signal's reason. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const stop = (): void => reject(signal.reason as Error);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  return promise;
}
