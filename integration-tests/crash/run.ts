import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Failpoint } from "@tallymq/testkit/crash";
import { judge, LedgerWriter, type LedgerReport, type LedgerVerdict, writeFinal } from "@tallymq/testkit/ledger";
import { createEffects, type Effects } from "../workload/effects.ts";
import { Fleet, type Member } from "../workload/fleet.ts";
import { type Order, orderOf } from "../workload/order.ts";
import { OutboxView } from "../workload/outbox.ts";
import { crashLine } from "../workload/process.ts";
import { seeded } from "../workload/random.ts";
import type { Broker, BrokerName } from "./broker.ts";
import { lettersOf, wrongEnds } from "./ends.ts";
import { type Bug, GROUP, type Job } from "./members/job.ts";
import { PLANS, type Scenario, SCENARIOS, type ScenarioName } from "./scenarios.ts";

/** Orders of a run, published within about a second. */
const MESSAGES = 200;
const RATE = 250;
const WINDOW = 60;
/** The outage begins when so many are accepted, and ends when so many are stored, or who was to die there has. */
const OUTAGE_AT = 40;
const LEAST_STORED = 60;
const LIMIT_MS = 60_000;
/** Nothing has moved for so long, and something is missing: it will not come. */
const QUIET_MS = 6_000;
/** The same while the broker still has something. */
const LONG_QUIET_MS = 20_000;
const LOOK_MS = 20;
const SETTLE_MS = 100;
const STOP_MS = 8_000;

const PROGRAM: Readonly<Record<Job["role"], string>> = {
  publisher: join(import.meta.dirname, "members", "publisher.ts"),
  consumer: join(import.meta.dirname, "members", "consumer.ts"),
};

export interface RunOptions {
  readonly point: Failpoint;
  readonly broker: Broker;
  /** Draws the pass at which the process dies. */
  readonly seed: number;
  /** Made by the run; whoever called puts it away. */
  readonly folder: string;
  readonly signal: AbortSignal;
  /** For tests of the matrix. */
  readonly bug?: Bug;
  /** @default drawn from the plan's range */
  readonly pass?: number;
}

export interface RunReport {
  readonly point: Failpoint;
  readonly broker: BrokerName;
  readonly pass: number;
  /** The process has killed itself there. */
  readonly hit: boolean;
  readonly verdict: LedgerVerdict;
  readonly reasons: readonly string[];
  readonly seconds: number;
}

/** One short run in which one process dies at one failpoint, is started again, and everything has to come even. */
export async function crashRun(options: RunOptions): Promise<RunReport> {
  const { point, seed } = options;
  const plan = PLANS[point];
  if (plan === undefined) throw new Error(`the matrix has no plan for ${point}`);
  const [least, most] = plan.passes;
  const pass = options.pass ?? least + Math.floor(seeded(seed ^ 0xc4a5)() * (most - least + 1));
  const started = performance.now();
  const { hit, report, wrong, doubts } = await new Run(options, plan.scenario, pass).make();
  const verdict: LedgerVerdict =
    report.verdict === "INVALID" || wrong.length > 0 ? "INVALID" : doubts.length > 0 ? "UNKNOWN" : report.verdict;
  const offences = report.offenders.slice(0, 5).map(({ violation, id, detail }) => `${violation} ${id}: ${detail}`);
  return {
    point,
    broker: options.broker.name,
    pass,
    hit,
    verdict,
    reasons:
      verdict === "VALID" ? [] : [...offences, ...wrong, ...doubts, ...report.doubts.map(({ reason }) => reason)],
    seconds: (performance.now() - started) / 1000,
  };
}

interface Outcome {
  readonly hit: boolean;
  readonly report: LedgerReport;
  /** Beyond what the ledger sees: each order has its end, and the right one. */
  readonly wrong: readonly string[];
  readonly doubts: readonly string[];
}

class Run {
  readonly #o: RunOptions;
  readonly #scenario: Scenario;
  readonly #name: ScenarioName;
  readonly #pass: number;
  readonly #topic: string;
  readonly #doubts: string[] = [];
  readonly #orders: readonly Order[];
  /** The one that died is not back yet. */
  #away = false;

  constructor(options: RunOptions, scenario: ScenarioName, pass: number) {
    this.#o = options;
    this.#scenario = SCENARIOS[scenario];
    this.#name = scenario;
    this.#pass = pass;
    this.#orders = Array.from({ length: MESSAGES }, (_, n) => orderOf(n, options.seed));
    this.#topic = `crash-${options.point.replace(".", "-")}-${options.seed}`;
  }

  async make(): Promise<Outcome> {
    const { broker, point } = this.#o;
    for (const folder of ["ledger", "logs"]) mkdirSync(this.#path(folder), { recursive: true });
    using effects = createEffects(this.#path("effects.db"), this.#scenario.marked);
    await using way = await broker.way(this.#scenario.outage);
    using ledger = new LedgerWriter({ folder: this.#path("ledger"), run: "crash", proc: "director" });
    await using fleet = new Fleet<Job>(
      (role) => PROGRAM[role],
      this.#path("logs"),
      (reason) => this.#doubts.push(reason),
    );
    const publisher = this.#job("publisher", way.endpoint);
    const consumer = this.#job("consumer", broker.endpoint);
    // Consumers first: an order must not come before there is a queue for it.
    await fleet.start(consumer).ready;
    await fleet.start(publisher).ready;
    const victim = fleet.last(this.#scenario.crashes === "publisher" ? publisher.proc : consumer.proc);
    const restarted = this.#restart(victim, fleet, ledger).catch((error: unknown) => {
      this.#doubts.push(`it could not be started again: ${(error as Error).message}`);
      this.#away = false;
    });
    fleet.last(publisher.proc).tell({ type: "go" });
    if (this.#scenario.outage) {
      await this.#until(() => fleet.sum("publisher", "accepted") >= OUTAGE_AT);
      await way.refuse();
      await this.#until(() => victim.crashed || fleet.sum("publisher", "spilled") >= LEAST_STORED);
      await way.heal();
    }
    await using outbox = await OutboxView.open(this.#path("outbox.db"));
    await using forwarded = await OutboxView.ofInbox(this.#path("effects.db"));
    const left = async (): Promise<number> => (await outbox.rows()) + (await forwarded.rows()) + (await this.#queued());
    await this.#drain(fleet, effects, left);
    // Nobody waits for a crash any more that has not come.
    await fleet.stop("publisher", STOP_MS);
    await fleet.stop("consumer", STOP_MS);
    const hit = victim.crashed;
    if (hit) await restarted;
    ledger.write({ op: "heal" });
    const dead = await lettersOf(broker, this.#topic, this.#o.signal);
    await writeFinal(ledger, {
      effects: effects.rows(),
      deadLetters: dead,
      remaining: [
        await outbox.remaining(),
        await forwarded.remaining("forwarded"),
        { where: "queue", name: this.#topic, n: await this.#queued() },
      ],
    });
    ledger.close();
    const incarnations = fleet.members.map(({ incarnation }) => incarnation);
    const expect = { faults: 1, incarnations, sometimes: [crashLine(point)] };
    const report = await judge({ folder: this.#path("ledger"), expect });
    const wrong = wrongEnds(this.#scenario, this.#orders, report, new Set(dead));
    return { hit, report, wrong, doubts: this.#doubts };
  }

  /** Starts the victim again when it has died where it was to. */
  async #restart(victim: Member<Job>, fleet: Fleet<Job>, ledger: LedgerWriter): Promise<void> {
    await victim.ended;
    if (!victim.crashed) return;
    this.#away = true;
    // A kill that nobody announced: who died, and where, stands in its own ledger.
    ledger.write({ op: "fault-begin", kind: `crash:${this.#o.point}`, victim: victim.incarnation });
    const bug = victim.job.bug === "forgetful" ? victim.job.bug : null;
    const successor = await fleet.replace(victim, { bug });
    this.#away = false;
    if (successor.job.role === "publisher") successor.tell({ type: "go" });
    ledger.write({ op: "fault-end", kind: `crash:${this.#o.point}` });
  }

  /** Until each order has come to its end and nobody has anything left, or nothing moves any more. */
  async #drain(fleet: Fleet<Job>, effects: Effects, left: () => Promise<number>): Promise<void> {
    const { fails, repaired } = this.#scenario;
    const healthy = this.#orders.filter((order) => !fails(order)).length;
    let expected = repaired === "later" ? MESSAGES : healthy;
    let byHand = repaired === "by-hand";
    let [before, since] = ["", performance.now()];
    const end = performance.now() + LIMIT_MS;
    while (performance.now() < end) {
      this.#o.signal.throwIfAborted();
      const billed = effects.billed();
      const published = fleet.of("publisher").some(({ running, status }) => running && status.published);
      const replayed = fleet.of("consumer").some(({ running, status }) => running && status.published);
      const ended = byHand || repaired !== "by-hand" || replayed;
      if (published && billed >= expected && ended && (await left()) === 0) {
        // Twice, since a delivery may be between the queue and its handler.
        await sleep(SETTLE_MS);
        if ((await left()) === 0) {
          if (!byHand) return;
          byHand = false;
          expected = MESSAGES;
          writeFileSync(this.#path("repaired"), "");
        }
      }
      const now = `${billed} ${fleet.sum("publisher", "accepted")} ${fleet.members.length}`;
      if (now !== before || this.#away) [before, since] = [now, performance.now()];
      const quiet = performance.now() - since;
      // A busy broker takes its time, to make a topic for delays say: what it still has is not lost yet.
      if (quiet > QUIET_MS && (quiet > LONG_QUIET_MS || (await left()) === 0)) return;
      await sleep(LOOK_MS);
    }
    this.#doubts.push(`it was not over after ${LIMIT_MS / 1000} s`);
  }

  async #queued(): Promise<number> {
    const { broker } = this.#o;
    const topics = [this.#topic, ...(this.#name === "forward" ? [`${this.#topic}-bills`] : [])];
    const counts = await Promise.all(topics.map((name) => broker.backlog(name, GROUP)));
    return counts.reduce((sum, n) => sum + n, 0);
  }

  async #until(holds: () => boolean): Promise<void> {
    const end = performance.now() + LIMIT_MS;
    while (!holds() && performance.now() < end) await sleep(LOOK_MS, undefined, { signal: this.#o.signal });
  }

  #job(role: Job["role"], endpoint: Job["endpoint"]): Job {
    const { point, seed, bug = null } = this.#o;
    const crashes = this.#scenario.crashes === role;
    const theirs = bug === "forgetful" ? "publisher" : "consumer";
    return {
      role,
      proc: role,
      epoch: 1,
      run: "crash",
      ledger: this.#path("ledger"),
      crash: crashes ? `${point}:${this.#pass}` : null,
      endpoint,
      scenario: this.#name,
      topic: this.#topic,
      outbox: this.#path("outbox.db"),
      effects: this.#path("effects.db"),
      repaired: this.#path("repaired"),
      seed,
      share: role === "publisher" ? { first: 0, step: 1, end: MESSAGES, rate: RATE, window: WINDOW } : null,
      bug: role === theirs ? bug : null,
    };
  }

  #path(name: string): string {
    return join(this.#o.folder, name);
  }
}
