// One thing: a run from empty stores to a judgement; its parts share the processes and what was counted.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { OutboxStore, Transport } from "@tallymq/core/spi";
import { rocketmq } from "@tallymq/rocketmq";
import { sqlite } from "@tallymq/store-sqlite";
import type { Failpoint } from "@tallymq/testkit/crash";
import type { RocketNode } from "../brokers/index.ts";
import { createEffects, type Effects } from "../workload/effects.ts";
import { Fleet, type Member } from "../workload/fleet.ts";
import { host } from "../workload/host.ts";
import { orderOf } from "../workload/order.ts";
import { type Demands, HALF_POINTS, type Judgement, judge } from "./judge.ts";
import { GROUP, type Job, SERVICE, STEP } from "./members/job.ts";
import { type Window, WINDOWS } from "./windows.ts";
import { Works } from "./works.ts";

/** The broker asks after 2 s, each 2 s, six times: a half message that nobody decides is given up within half a minute. */
export const BROKER_CONFIG = `
transactionTimeOut=2000
transactionCheckInterval=2000
transactionCheckMax=6
`;

const LOOK_MS = 20;
/** A life in which no more transactions come into its window is over after so long; checks come when the broker asks. */
const STAGNANT_MS: Readonly<Record<Window, number>> = { work: 3_000, commit: 3_000, check: 8_000 };
const LIFE_MS = 60_000;
const END_MS = 180_000;
const SETTLE_MS = 500;
const STOP_MS = 10_000;

const PROGRAM: Readonly<Record<Job["role"], string>> = {
  producer: join(import.meta.dirname, "members", "producer.ts"),
  consumer: join(import.meta.dirname, "members", "consumer.ts"),
};

export interface RunOptions {
  readonly node: Pick<RocketNode, "direct" | "names">;
  readonly transactions: number;
  readonly demands: Demands;
  /** Killed together, at least where there are so many. */
  readonly together: number;
  /** Times that both producers are dead for longer than the broker asks. */
  readonly downtimes: number;
  readonly seed: number;
  readonly folder: string;
  readonly signal: AbortSignal;
  step(line: string): void;
}

export interface RunReport extends Judgement {
  readonly transactions: number;
  readonly killed: Readonly<Record<Window, number>>;
  readonly processes: number;
  readonly dropped: number;
  /** Deliveries that the inbox knew already. */
  readonly duplicates: number;
  readonly seconds: number;
}

/** Two producers live and die, a consumer counts, and everything has to come even. */
export async function halvesRun(options: RunOptions): Promise<RunReport> {
  const started = performance.now();
  await using run = await Run.start(options);
  return { ...(await run.make()), seconds: (performance.now() - started) / 1000 };
}

class Run implements AsyncDisposable {
  readonly #o: RunOptions;
  readonly #topic: string;
  readonly #fleet: Fleet<Job>;
  readonly #effects: Effects;
  readonly #works: Works;
  readonly #transport: Transport;
  readonly #outbox: OutboxStore;
  readonly #killed: Readonly<Record<Window, Set<string>>> = { work: new Set(), commit: new Set(), check: new Set() };
  readonly #points: Set<Failpoint> = new Set();
  /** By producer: where it goes on. */
  readonly #next: number[] = [0, 1];
  readonly #lives: number[] = [0, 0];
  #failed: string | null = null;
  #dropped = 0;

  private constructor(options: RunOptions, outbox: OutboxStore) {
    this.#o = options;
    this.#outbox = outbox;
    this.#topic = `halves-${options.seed}`;
    this.#effects = createEffects(this.#path("effects.db"));
    this.#works = new Works(this.#path("works.db"));
    const { node } = options;
    this.#transport = rocketmq({ endpoints: [node.direct], names: [node.names], queues: 4 }).open({
      ...host,
      service: "director",
      run: "0".repeat(32),
    });
    this.#fleet = new Fleet<Job>(
      (role) => PROGRAM[role],
      this.#path("logs"),
      (reason) => void (this.#failed ??= reason),
    );
  }

  static async start(options: RunOptions): Promise<Run> {
    for (const folder of ["logs", "ledger"]) mkdirSync(join(options.folder, folder), { recursive: true });
    return new Run(options, await sqlite(join(options.folder, "outbox.db")).openOutbox(host));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fleet[Symbol.asyncDispose]();
    await this.#transport[Symbol.asyncDispose]();
    await this.#outbox[Symbol.asyncDispose]();
    this.#effects[Symbol.dispose]();
    this.#works[Symbol.dispose]();
  }

  async make(): Promise<Omit<RunReport, "seconds">> {
    const { downtimes, step, transactions, demands } = this.#o;
    const consumer = this.#fleet.start(this.#job("consumer", 0, {}));
    await consumer.ready;
    for (const [index, point] of HALF_POINTS.entries()) await this.#dies(index % 2, point);
    for (let time = 1; time <= downtimes; time++) {
      await this.#until(Math.ceil((demands.killed * time) / (downtimes + 1)));
      await this.#nobody();
    }
    await this.#until(demands.killed);
    step("nobody is killed any more");
    const left = await this.#finish();
    const duplicates = consumer.status.resends;
    await this.#fleet.stop("consumer", STOP_MS);
    if (this.#failed !== null) throw new Error(this.#failed);
    const effects = new Map<string, number>();
    for (const { id } of this.#effects.rows()) effects.set(id, (effects.get(id) ?? 0) + 1);
    const judgement = judge(
      {
        ids: Array.from({ length: transactions }, (_, n) => orderOf(n, this.#o.seed).id),
        outcomes: this.#works.all(),
        effects,
        killed: this.#killed,
        points: this.#points,
        dropped: this.#dropped,
        left,
      },
      demands,
    );
    return {
      ...judgement,
      transactions,
      killed: { work: this.#killed.work.size, commit: this.#killed.commit.size, check: this.#killed.check.size },
      processes: this.#lives.reduce((sum, n) => sum + n, 0),
      dropped: this.#dropped,
      duplicates,
    };
  }

  // ── lives of producers ──────────────────────────────────────────────────────

  /** Until so many were killed in each window. Both at once, each by itself, so that one is asked about the other's. */
  async #until(killed: number): Promise<void> {
    const lives = async (producer: number): Promise<void> => {
      for (;;) {
        const [window] = WINDOWS.toSorted((a, b) => this.#killed[a].size - this.#killed[b].size);
        if (window === undefined || this.#killed[window].size >= killed) return;
        if (window !== "check" && this.#next[producer]! >= this.#o.transactions) return;
        await this.#life(producer, window);
      }
    };
    await Promise.all([lives(0), lives(1)]);
  }

  /** One life, to its end by kill -9 with some in the window. */
  async #life(producer: number, window: Window): Promise<void> {
    const { together, step, signal } = this.#o;
    const first = this.#next[producer]!;
    const fresh = window === "work" ? together : window === "commit" ? 4 * together : Math.ceil(together / 2);
    const end = Math.min(this.#o.transactions, first + STEP * fresh);
    const member = this.#fleet.start(this.#job("producer", producer, { window, first, end }));
    await member.ready;
    member.tell({ type: "go" });
    let [before, since] = [-1, performance.now()];
    for (const limit = performance.now() + LIFE_MS; member.running && performance.now() < limit;) {
      signal.throwIfAborted();
      const { inFlight } = member.status;
      if (inFlight >= together) break;
      if (inFlight !== before) [before, since] = [inFlight, performance.now()];
      if (performance.now() - since > STAGNANT_MS[window]) break;
      await sleep(LOOK_MS);
    }
    this.#next[producer] = first + STEP * member.status.invoked;
    await member.kill();
    const ids = heldIn(member.job.held);
    for (const id of ids) this.#killed[window].add(id);
    const counts = WINDOWS.map((each) => `${each} ${this.#killed[each].size}`).join(", ");
    step(`${member.job.proc}#${member.job.epoch} killed with ${ids.length} in window ${window}; so far ${counts}`);
  }

  /** One that kills itself at a failpoint, while the other lives. */
  async #dies(producer: number, point: Failpoint): Promise<void> {
    const { together, signal, step } = this.#o;
    const first = this.#next[producer]!;
    const end = Math.min(this.#o.transactions, first + STEP * together);
    const job = this.#job("producer", producer, { crash: `${point}:2`, first, end });
    const member = this.#fleet.start(job);
    await member.ready;
    member.tell({ type: "go" });
    for (const limit = performance.now() + LIFE_MS; member.running && performance.now() < limit;) {
      signal.throwIfAborted();
      await sleep(LOOK_MS);
    }
    this.#next[producer] = first + STEP * member.status.invoked;
    await member.kill();
    if (member.crashed) this.#points.add(point);
    step(`${member.job.proc}#${member.job.epoch} ${member.crashed ? "killed itself" : "never came"} at ${point}`);
  }

  /** Both dead, with committed ones that the broker was not told of, until it has given these up. */
  async #nobody(): Promise<void> {
    const { signal, step } = this.#o;
    const port = this.#transport.halfMessages!;
    const before = await port.dropped(signal);
    const known = new Set(this.#killed.commit);
    await Promise.all([this.#life(0, "commit"), this.#life(1, "commit")]);
    const outcomes = this.#works.all();
    const ids = [...this.#killed.commit].filter((id) => !known.has(id) && outcomes.get(id) === "commit");
    step(`no producer lives; ${ids.length} committed ones that nobody was told of`);
    await sleep(await port.asksFor(signal), undefined, { signal });
    const dropped = (await port.dropped(signal)) - before;
    this.#dropped += Math.min(dropped, ids.length);
    step(`the broker has given up ${dropped}`);
  }

  /** Two that live on, until nothing is left. @returns what is */
  async #finish(): Promise<number> {
    const { transactions, signal, step } = this.#o;
    const members = [0, 1].map((producer) =>
      this.#fleet.start(this.#job("producer", producer, { first: producer, end: transactions })),
    );
    await Promise.all(members.map(({ ready }) => ready));
    for (const member of members) member.tell({ type: "go" });
    let left = Number.POSITIVE_INFINITY;
    let said = "";
    for (const limit = performance.now() + END_MS; left > 0 && performance.now() < limit;) {
      await sleep(SETTLE_MS, undefined, { signal });
      if (this.#failed !== null) throw new Error(this.#failed);
      left = members.every(whole) ? await this.#left() : Number.POSITIVE_INFINITY;
      // Twice, since a delivery may be between the queue and its handler.
      if (left === 0) await sleep(SETTLE_MS);
      if (left === 0) left = await this.#left();
      const line = `${this.#effects.billed()} effects, ${left} left`;
      if (line !== said) step((said = line));
    }
    await this.#fleet.stop("producer", STOP_MS);
    return left;
  }

  async #left(): Promise<number> {
    const { undecided, parked } = await this.#outbox.halves!.stats();
    const rows = await this.#outbox.stats();
    const backlog = await this.#transport.admin.backlog(this.#topic, GROUP, this.#o.signal);
    return undecided + parked + rows.rows + rows.parked + backlog;
  }

  #job(role: Job["role"], producer: number, change: Partial<Job>): Job {
    const { node, seed, together } = this.#o;
    const epoch = role === "producer" ? ++this.#lives[producer]! : 1;
    const proc = `${role}-${producer}`;
    return {
      role,
      proc,
      epoch,
      run: SERVICE,
      ledger: this.#path("ledger"),
      crash: null,
      endpoint: node.direct,
      names: node.names,
      topic: this.#topic,
      outbox: this.#path("outbox.db"),
      works: this.#path("works.db"),
      effects: this.#path("effects.db"),
      held: this.#path(`held.${proc}.${epoch}`),
      window: null,
      seed,
      first: 0,
      end: 0,
      atOnce: together,
      ...change,
    };
  }

  #path(name: string): string {
    return join(this.#o.folder, name);
  }
}

function whole({ status, running }: Member<Job>): boolean {
  return running && status.published;
}

function heldIn(file: string): readonly string[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.slice(line.indexOf(" ") + 1));
}
