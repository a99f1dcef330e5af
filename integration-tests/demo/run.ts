import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LedgerWriter, writeFinal } from "@tallymq/testkit/ledger";
import type { Settings } from "./arguments.ts";
import type { DemoBroker } from "./brokers/broker.ts";
import { startBroker } from "./brokers/index.ts";
import { CLIENT } from "./clients/index.ts";
import { createEffects, type Effects } from "../workload/effects.ts";
import { Fleet } from "../workload/fleet.ts";
import { OutboxView } from "../workload/outbox.ts";
import { directFaults, type FaultRecord } from "./faults/director.ts";
import { type FaultKind, type FaultPlan, flat, planFaults } from "./faults/plan.ts";
import { judgeRun, type DemoReport } from "./judge.ts";
import type { Bug, Job } from "./workload/job.ts";
import { CONSUMERS, PUBLISHERS, Workload } from "./workload/workload.ts";

/** What a test may change; the command line has none of it. */
export interface Variation {
  /** Messages a second in all. @default 1500, less in a short run */
  readonly rate?: number;
  readonly bug?: Bug;
  /** Orders of a customer take effect in their order, which the ledger is told. @default false */
  readonly ordered?: boolean;
  /** A moment with enough in flight is waited for so long, in milliseconds. @default 10000 */
  readonly patience?: number;
  /** Without any new effect for so long nothing more is coming, in milliseconds. @default 6000 */
  readonly quiet?: number;
  readonly plan?: readonly FaultPlan[];
  /** The whole run, without the broker's start, in milliseconds. @default twice what publishing takes, and the broker's slack */
  readonly limit?: number;
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

const PROGRAM: Readonly<Record<Job["role"], string>> = {
  publisher: join(import.meta.dirname, "workload", "publisher.ts"),
  consumer: join(import.meta.dirname, "workload", "consumer.ts"),
};
const RATE = 1_500;
/** A short run is slower instead: the faults need their time, on a busy machine too. */
const LEAST_SECONDS = 8;
const QUIET_MS = 6_000;
const SHOW_MS = 100;

/**
 * One run from an empty broker to a verdict. It ends by itself whatever happens within: every wait has a bound, and all
 * of them together have one. No process of its own is left when it settles; its folder only if the verdict is not VALID.
 *
 * @throws when the broker or the processes cannot be started, and the signal's reason
 */
export async function runDemo(
  settings: Settings,
  watcher: Watcher,
  signal: AbortSignal,
  variation: Variation = {},
): Promise<DemoReport> {
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
  readonly #watcher: Watcher;
  readonly #folder: string;
  readonly #variation: Variation;
  readonly #rate: number;
  readonly #plan: readonly FaultPlan[];
  readonly #name = `demo-${process.pid}-${Date.now().toString(36)}`;
  /** What makes the verdict UNKNOWN beside what the judge sees. */
  readonly #doubts: Set<string> = new Set();
  readonly #faults: FaultRecord[] = [];
  #fault: FaultKind | null = null;

  constructor(settings: Settings, variation: Variation, watcher: Watcher, folder: string) {
    this.#settings = settings;
    this.#watcher = watcher;
    this.#folder = folder;
    this.#variation = variation;
    this.#rate = variation.rate ?? Math.min(RATE, settings.messages / LEAST_SECONDS);
    this.#plan = variation.plan ?? planOf(settings);
  }

  async make(signal: AbortSignal): Promise<DemoReport> {
    const [logs, data] = [this.#path("logs"), this.#path("broker")];
    for (const each of [logs, data]) mkdirSync(each);
    await using broker = await startBroker(this.#settings.broker, data, (line) => this.#watcher.step(line));
    signal.throwIfAborted();

    // From here on the run is bounded; engines and images before may have to be made.
    const over = new AbortController();
    const { limit = broker.slackMs + (this.#settings.messages / this.#rate) * 2_000 } = this.#variation;
    const timer = setTimeout(() => over.abort(new Error(`it was not over after ${Math.round(limit / 1000)} s`)), limit);
    const onSignal = (): void => over.abort(signal.reason);
    signal.addEventListener("abort", onSignal, { once: true });
    try {
      using effects = createEffects(this.#path("effects.db"));
      using ledger = new LedgerWriter({ folder: this.#path("ledger"), run: this.#name, proc: "director" });
      await using outbox = this.#settings.store === "none" ? null : await OutboxView.open(this.#path("outbox.db"));
      await using fleet = new Fleet<Job>(
        (role) => PROGRAM[role],
        logs,
        (reason) => {
          this.#doubts.add(reason);
          over.abort(new Error(reason));
        },
      );
      const seconds = await this.#workload(broker, fleet, effects, outbox, ledger, over.signal);
      signal.throwIfAborted();
      // Nobody may write any more when the final state is read.
      await fleet[Symbol.asyncDispose]();
      const left = broker.returned().then(() => broker.backlog());
      const remaining = await left.catch((error: unknown) => {
        this.#doubts.add(`the broker did not say what it has left: ${(error as Error).message}`);
        return [];
      });
      const stored = outbox === null ? [] : [await outbox.remaining()];
      await writeFinal(ledger, { effects: effects.rows(), deadLetters: [], remaining: [...remaining, ...stored] });
      ledger.close();
      return await this.#judge(broker, fleet, seconds);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onSignal);
    }
  }

  /** Answers how long it took, in seconds. A run that was cut short is judged as well: by what it left. */
  async #workload(
    broker: DemoBroker,
    fleet: Fleet<Job>,
    effects: Effects,
    outbox: OutboxView | null,
    ledger: LedgerWriter,
    signal: AbortSignal,
  ): Promise<number> {
    const { client, seed, messages } = this.#settings;
    const { bug = null, ordered = false, quiet = QUIET_MS, patience = 10_000 } = this.#variation;
    const shared = {
      run: this.#name,
      ledger: this.#path("ledger"),
      effects: this.#path("effects.db"),
      outbox: outbox === null ? null : this.#path("outbox.db"),
      client,
      seed,
      ordered,
    };
    const workload = new Workload({
      broker,
      fleet,
      effects,
      outbox,
      messages,
      rate: this.#rate,
      shared,
      bug,
      quiet,
      patience,
    });
    const show = setInterval(
      () => this.#show(fleet, effects.billed(), workload.published ? "draining" : "publishing"),
      SHOW_MS,
    );
    const started = performance.now();
    try {
      await workload.start(signal);
      await directFaults(
        {
          plan: this.#plan,
          messages,
          awaitsAnswer: CLIENT[client].awaitsAnswer,
          ledger,
          moment: () => workload.moment(),
          waiting: () => workload.waiting(),
          press: (who) => workload.press(who),
          hold: (held) => workload.hold(held),
          blow: (fault) => workload.blow(fault, signal),
          told: (fault) => void (this.#fault = fault),
          recorded: (fault) => void this.#faults.push(fault),
          patience,
        },
        signal,
      );
      await workload.allPublished(signal);
      await workload.drain(signal);
      // Only now: in a run that is cut short before, what has no effect yet is late, not lost.
      ledger.write({ op: "heal" });
    } catch (error) {
      if (!signal.aborted) throw error;
      this.#doubts.add((signal.reason as Error).message);
    } finally {
      clearInterval(show);
    }
    this.#show(fleet, effects.billed(), "judging");
    return (performance.now() - started) / 1000;
  }

  #judge(broker: DemoBroker, fleet: Fleet<Job>, seconds: number): Promise<DemoReport> {
    return judgeRun({
      settings: this.#settings,
      brokerTitle: broker.title,
      folder: this.#folder,
      ledger: this.#path("ledger"),
      client: CLIENT[this.#settings.client],
      planned: flat(this.#plan).length,
      faults: this.#faults,
      incarnations: fleet.members.map(({ incarnation }) => incarnation),
      seconds,
      doubts: [...this.#doubts],
    });
  }

  #show(fleet: Fleet<Job>, effects: number, phase: Progress["phase"]): void {
    const accepted = fleet.sum("publisher", "accepted");
    const inFlight = Math.max(0, fleet.sum("publisher", "invoked") - fleet.sum("publisher", "rejected") - effects);
    this.#watcher.progress({
      messages: this.#settings.messages,
      accepted,
      effects,
      inFlight,
      fault: this.#fault,
      phase,
    });
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }
}

/** What goes wrong in a run with these settings. */
export function planOf({ seed, store, broker }: Settings): readonly FaultPlan[] {
  return planFaults(seed, {
    publishers: PUBLISHERS,
    consumers: CONSUMERS,
    relays: store !== "none",
    cluster: broker === "kafka",
    proxy: broker === "rocketmq",
  });
}
