import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fleet, type Member } from "../../integration-tests/workload/fleet.ts";
import { orAborted } from "../../integration-tests/workload/wait.ts";
import { type ComparedBroker, startBroker } from "./broker.ts";
import { answersOf, countsOf } from "./count.ts";
import { effectsOf } from "./effects.ts";
import type { Job } from "./job.ts";
import { type Kill, killAndRestart } from "./kills.ts";
import { settled } from "./settled.ts";
import { effectsRow, problemsOf, type Row } from "./verdict.ts";

export interface Plan {
  readonly broker: string;
  readonly clients: readonly string[];
  readonly messages: number;
  /** Messages a second of each client. */
  readonly rate: number;
  readonly kills: number;
}

export interface Report {
  readonly title: string;
  readonly rows: readonly Row[];
  readonly kills: readonly Kill[];
  /** What had to hold and did not. */
  readonly problems: readonly string[];
}

const PROGRAM = join(import.meta.dirname, "publisher.ts");
const RUN = "compare";
/** No call of any client was answered for so long: the others never will be. */
const PATIENCE_MS = 45_000;
const STOP_MS = 15_000;
/** For everything beside the publishing itself, which is allowed three times its time. */
const SLACK_MS = 180_000;
/** What is to be consumed once, and by whom. */
const IDEMPOTENT = "tally";

/**
 * All clients side by side, each a process of its own with a queue of its own, on one broker whose parts are killed with
 * -9 and restarted meanwhile, in turn: all see the same kills.
 *
 * @throws when the broker or a client cannot be started, and the signal's reason
 */
export async function compareFaults(plan: Plan, say: (line: string) => void, signal: AbortSignal): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "tally-compare-"));
  try {
    await using broker = await startBroker(plan.broker, say);
    const limit = AbortSignal.timeout(SLACK_MS + (3_000 * plan.messages) / plan.rate);
    const over = AbortSignal.any([signal, limit]);
    return await orAborted(new Run(plan, broker, folder, say, over).make(), over);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

class Run {
  readonly #plan: Plan;
  readonly #broker: ComparedBroker;
  readonly #folder: string;
  readonly #say: (line: string) => void;
  readonly #signal: AbortSignal;

  constructor(plan: Plan, broker: ComparedBroker, folder: string, say: (line: string) => void, signal: AbortSignal) {
    this.#plan = plan;
    this.#broker = broker;
    this.#folder = folder;
    this.#say = say;
    this.#signal = signal;
  }

  async make(): Promise<Report> {
    const { clients } = this.#plan;
    const logs = join(this.#folder, "logs");
    mkdirSync(logs);
    await this.#broker.declare(clients.map(queueOf));
    await using fleet = new Fleet<Job>(
      () => PROGRAM,
      logs,
      (reason) => this.#say(reason),
    );
    const members = clients.map((client) => fleet.start(this.#job(client)));
    await Promise.all(members.map(({ ready }) => ready));
    this.#say(`${clients.length} clients publish ${this.#plan.messages} messages each, at ${this.#plan.rate}/s`);
    for (const member of members) member.tell({ type: "go" });
    const kills = await killAndRestart(this.#broker, fleet, this.#plan, this.#say, this.#signal);
    const emptied = await settled(fleet, PATIENCE_MS, this.#signal);
    await fleet.stop("publisher", STOP_MS);

    const rows: Row[] = [];
    for (const member of members) rows.push(await this.#row(member, emptied.get(member) ?? 0));
    return { title: this.#broker.title, rows, kills, problems: problemsOf(rows, kills, this.#plan, IDEMPOTENT) };
  }

  async #row({ job, ended }: Member<Job>, emptied: number): Promise<Row> {
    const answers = answersOf(job.ledger, job.proc);
    const copies = await this.#broker.copies(job.place.queue);
    const keeps = existsSync(job.place.outbox);
    this.#say(`${job.client}: counted`);
    const effects =
      job.client === IDEMPOTENT
        ? await effectsOf(this.#broker.source(job.place.queue), copies.size, join(this.#folder, "effects.db"))
        : null;
    return {
      client: job.client,
      ...countsOf(answers, copies, this.#plan.messages),
      effects: effects === null ? null : effectsRow(effects.made, copies, effects.recognised),
      seconds: (Math.max(answers.until, keeps ? emptied : 0) - answers.from) / 1_000_000,
      ended: await ended,
    };
  }

  #job(client: string): Job {
    const { broker, messages, rate } = this.#plan;
    return {
      role: "publisher",
      proc: client,
      epoch: 1,
      run: RUN,
      ledger: join(this.#folder, "ledger"),
      crash: null,
      seed: 1,
      share: { first: 0, step: 1, end: messages, rate, window: messages },
      broker,
      client,
      place: {
        url: this.#broker.url,
        queue: queueOf(client),
        queueType: this.#broker.queueType,
        outbox: join(this.#folder, `${client}.outbox.db`),
      },
    };
  }
}

function queueOf(client: string): string {
  return `compare-${client}`;
}
