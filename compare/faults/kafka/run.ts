import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { kafka } from "@tallymq/kafka";
import { type KafkaCluster, startKafkaCluster } from "../../../integration-tests/brokers/index.ts";
import { Fleet, type Member } from "../../../integration-tests/workload/fleet.ts";
import { orAborted } from "../../../integration-tests/workload/wait.ts";
import { answersOf, countsOf } from "../count.ts";
import { effectsOf, type Source } from "../effects.ts";
import { settled } from "../settled.ts";
import { effectsRow } from "../verdict.ts";
import type { KafkaJob } from "./job.ts";
import { type Scenario, SCENARIOS } from "./scenarios.ts";
import { copiesIn, lagOf, makeTopics } from "./topics.ts";
import { problemsOf, type ScenarioRow } from "./verdict.ts";

export interface KafkaPlan {
  readonly scenarios: readonly string[];
  readonly clients: readonly string[];
  /** Of each client in each scenario. */
  readonly messages: number;
  /** Messages a second of each client. */
  readonly rate: number;
}

export interface KafkaReport {
  readonly rows: readonly ScenarioRow[];
  /** What had to hold and did not. */
  readonly problems: readonly string[];
}

const PROGRAM = join(import.meta.dirname, "publisher.ts");
const RUN = "compare";
const LOOK_MS = 50;
/** The fault begins when each client has called this share of its messages. */
const WARM = 0.15;
/** Calls without an answer, at most, of each client. */
const WINDOW = 200;
/** After the fault, no call of any client was answered for so long: the others never will be. */
const PATIENCE_MS = 20_000;
const STOP_MS = 5_000;
/** For one scenario beside the publishing itself, which is allowed three times its time. */
const SLACK_MS = 180_000;
/** What is to be consumed once, and by whom. */
const PROMISED = "tally";

/**
 * Scenario after scenario on one cluster of three nodes, all clients side by side, each a process of its own with a topic
 * of its own: all see the same faults.
 *
 * @throws when the cluster or a client cannot be started, and the signal's reason
 */
export async function compareKafka(
  plan: KafkaPlan,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<KafkaReport> {
  const folder = mkdtempSync(join(tmpdir(), "tally-compare-"));
  try {
    await using cluster = await startKafkaCluster({ progress: say });
    const rows: ScenarioRow[] = [];
    for (const scenario of SCENARIOS) {
      if (!plan.scenarios.includes(scenario.name)) continue;
      const over = AbortSignal.any([signal, AbortSignal.timeout(SLACK_MS + (3_000 * plan.messages) / plan.rate)]);
      rows.push(...(await orAborted(new Run(plan, scenario, cluster, folder, say, over).make(), over)));
    }
    return { rows, problems: problemsOf(rows, plan.messages, PROMISED) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

class Run {
  readonly #plan: KafkaPlan;
  readonly #scenario: Scenario;
  readonly #cluster: KafkaCluster;
  readonly #folder: string;
  readonly #say: (line: string) => void;
  readonly #signal: AbortSignal;

  constructor(
    plan: KafkaPlan,
    scenario: Scenario,
    cluster: KafkaCluster,
    folder: string,
    say: (line: string) => void,
    signal: AbortSignal,
  ) {
    this.#plan = plan;
    this.#scenario = scenario;
    this.#cluster = cluster;
    this.#folder = join(folder, scenario.name);
    this.#say = say;
    this.#signal = signal;
  }

  async make(): Promise<readonly ScenarioRow[]> {
    const { name, words, config, run } = this.#scenario;
    const { clients, messages } = this.#plan;
    const topics = clients.map((client) => this.#topicOf(client));
    const logs = join(this.#folder, "logs");
    mkdirSync(logs, { recursive: true });
    this.#say(`${name}: ${words}`);
    await makeTopics(this.#cluster, topics, config);
    await using fleet = new Fleet<KafkaJob>(
      () => PROGRAM,
      logs,
      (reason) => this.#say(reason),
    );
    const members = clients.map((client) => fleet.start(this.#job(client)));
    await Promise.all(members.map(({ ready }) => ready));
    for (const member of members) member.tell({ type: "go" });
    await this.#until(() => members.every(({ running, status }) => !running || status.invoked >= WARM * messages));
    const met = new Map(members.map((member) => [member.job.client, !member.status.published]));
    await run({ cluster: this.#cluster, topics });
    await settled(fleet, PATIENCE_MS, this.#signal);
    await fleet.stop("publisher", STOP_MS);
    const copies = await copiesIn(this.#cluster, topics, `compare-${name}\\.`);
    const rows: ScenarioRow[] = [];
    for (const member of members)
      rows.push(
        await this.#row(member, copies.get(member.job.client) ?? new Map(), met.get(member.job.client) === true),
      );
    return rows;
  }

  async #until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      this.#signal.throwIfAborted();
      await sleep(LOOK_MS);
    }
  }

  async #row(
    { job, ended }: Member<KafkaJob>,
    copies: ReadonlyMap<string, number>,
    met: boolean,
  ): Promise<ScenarioRow> {
    const answers = answersOf(job.ledger, job.proc);
    const effects =
      job.client === PROMISED
        ? await effectsOf(this.#source(job.place.topic), copies.size, join(this.#folder, "effects.db"))
        : null;
    const row = {
      scenario: this.#scenario.name,
      client: job.client,
      ...countsOf(answers, copies, this.#plan.messages),
      effects: effects === null ? null : effectsRow(effects.made, copies, effects.recognised),
      seconds: (answers.until - answers.from) / 1_000_000,
      ended: await ended,
      met,
    };
    this.#say(
      `  ${row.client}: ${row.resolved} resolved, ${row.lost} lost, ${row.duplicated} duplicated, ${row.rejected} rejected`,
    );
    return row;
  }

  #source(topic: string): Source {
    const groups = { billing: `${topic}.billing` };
    return {
      broker: kafka({
        brokers: this.#cluster.proxied,
        topics: { orders: { topic, groups, declare: false } },
      }),
      cut: () => {
        for (const { proxy } of this.#cluster.nodes) proxy.cut();
      },
      empty: async () => (await lagOf(this.#cluster, topic, groups.billing)) === 0,
    };
  }

  #topicOf(client: string): string {
    return `compare-${this.#scenario.name}.${client}`;
  }

  #job(client: string): KafkaJob {
    const { messages, rate } = this.#plan;
    const { keyed, call } = this.#scenario;
    return {
      role: "publisher",
      proc: client,
      epoch: 1,
      run: RUN,
      ledger: join(this.#folder, "ledger"),
      crash: null,
      seed: 1,
      share: { first: 0, step: 1, end: messages, rate, window: WINDOW },
      client,
      keyed,
      place: {
        brokers: this.#cluster.proxied,
        topic: this.#topicOf(client),
        outbox: join(this.#folder, `${client}.outbox.db`),
        call,
      },
    };
  }
}
