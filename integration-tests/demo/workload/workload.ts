import { setTimeout as sleep } from "node:timers/promises";
import type { DemoBroker } from "../brokers/broker.ts";
import type { Blow, FaultPlan, Moment } from "../faults.ts";
import { orAborted } from "../wait.ts";
import type { Effects } from "./effects.ts";
import type { Fleet, Member } from "./fleet.ts";
import type { Job } from "./job.ts";

export const PUBLISHERS = 3;
export const CONSUMERS = 3;
/** Calls without an answer, for each publisher. */
const WINDOW = 300;
/** A killed broker stays away for so long before it is started again: in real life somebody has to notice first. */
const DOWN_MS = 500;
const DRAIN_MS = 30_000;
const SETTLE_MS = 150;
const STOP_MS = 12_000;

export interface WorkloadOptions {
  readonly broker: DemoBroker;
  readonly fleet: Fleet;
  readonly effects: Effects;
  readonly messages: number;
  /** Messages a second in all. */
  readonly rate: number;
  /** What every process is told alike. */
  readonly shared: Pick<Job, "run" | "ledger" | "effects" | "client" | "seed">;
  readonly bug: Job["bug"];
  /** Without any new effect for so long nothing more is coming, in milliseconds. */
  readonly quiet: number;
}

/** The shop: publishers that take orders, consumers that bill them, and what may be done to both. */
export class Workload {
  readonly #o: WorkloadOptions;

  constructor(options: WorkloadOptions) {
    this.#o = options;
  }

  async start(signal: AbortSignal): Promise<void> {
    const { broker, fleet } = this.#o;
    const ready = (): Promise<unknown> => orAborted(Promise.all(fleet.members.map((member) => member.ready)), signal);
    // Consumers first: an order must not come before there is a queue for it.
    for (let n = 0; n < CONSUMERS; n++) fleet.start(this.#job("consumer", n));
    await ready();
    for (let n = 0; n < PUBLISHERS; n++) fleet.start(this.#job("publisher", n));
    await ready();
    await orAborted(broker.settle(), signal);
    for (const member of fleet.of("publisher")) member.tell({ type: "go" });
  }

  /** Publishers have published all, and have left. */
  get published(): boolean {
    const publishers = this.#o.fleet.of("publisher");
    return publishers.length > 0 && publishers.every(({ running }) => !running);
  }

  async allPublished(signal: AbortSignal): Promise<void> {
    await orAborted(Promise.all(this.#o.fleet.of("publisher").map(({ ended }) => ended)), signal);
  }

  moment(): Moment {
    const { fleet } = this.#o;
    return {
      accepted: fleet.sum("publisher", "accepted"),
      publishing: fleet.sum("publisher", "inFlight"),
      pressed: fleet.of("publisher").every(({ running, status }) => !running || status.pressed),
      handling: Array.from({ length: CONSUMERS }, (_, n) => this.#consumer(n).status.inFlight),
      published: this.published,
    };
  }

  press(hard: boolean): void {
    for (const member of this.#o.fleet.of("publisher")) member.tell({ type: hard ? "press" : "ease" });
  }

  blow({ kind, victim }: FaultPlan, signal: AbortSignal): Blow {
    const { broker, fleet } = this.#o;
    switch (kind) {
      case "broker-killed": {
        const heal = async (): Promise<void> => {
          await sleep(DOWN_MS, undefined, { signal });
          await orAborted(broker.restart(), signal);
        };
        return { victim: null, strike: () => orAborted(broker.kill(), signal), heal };
      }
      case "connections-cut":
        return { victim: null, strike: () => orAborted(broker.cut(), signal), heal: async () => {} };
      case "consumer-killed": {
        const member = this.#consumer(victim);
        const heal = async (): Promise<void> => void (await orAborted(fleet.replace(member), signal));
        return { victim: member.incarnation, strike: () => member.kill(), heal };
      }
    }
  }

  /**
   * Waits until every accepted order is handled, and then until the duplicates that are still on their way are, too: a
   * queue that is not empty at the end is a finding. Ends early when nothing moves and the broker has nothing left.
   */
  async drain(signal: AbortSignal): Promise<void> {
    const { broker, fleet, effects, quiet: patience } = this.#o;
    const end = performance.now() + DRAIN_MS;
    const left = async (): Promise<number> => (await broker.backlog()).reduce((sum, { n }) => sum + n, 0);
    const idle = async (): Promise<boolean> => fleet.sum("consumer", "inFlight") === 0 && (await left()) === 0;
    const accepted = fleet.sum("publisher", "accepted");
    let [handled, since] = [effects.handled(), performance.now()];
    while (performance.now() < end) {
      signal.throwIfAborted();
      const [quiet, done] = [performance.now() - since > patience, handled >= accepted];
      // Twice, since a delivery may be between the queue and its handler.
      if ((done || quiet) && (await orAborted(idle(), signal))) {
        await sleep(SETTLE_MS);
        if (await orAborted(idle(), signal)) break;
      }
      await sleep(50);
      const now = effects.handled();
      if (now !== handled) [handled, since] = [now, performance.now()];
    }
    await orAborted(fleet.stop("consumer", STOP_MS), signal);
  }

  /** The one that lives now. */
  #consumer(n: number): Member {
    return this.#o.fleet.of("consumer").findLast(({ job }) => job.proc === procOf("consumer", n))!;
  }

  #job(role: Job["role"], n: number): Job {
    const { broker, messages, rate, shared, bug } = this.#o;
    const share = { first: n, step: PUBLISHERS, end: messages, rate: rate / PUBLISHERS, window: WINDOW };
    const proc = procOf(role, n);
    return {
      ...shared,
      role,
      proc,
      epoch: 1,
      endpoint: broker.endpoint,
      share: role === "publisher" ? share : null,
      bug: role === "consumer" ? bug : null,
    };
  }
}

function procOf(role: Job["role"], n: number): string {
  return `${role}-${n + 1}`;
}
