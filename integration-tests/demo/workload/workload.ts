import { setTimeout as sleep } from "node:timers/promises";
import type { Effects } from "../../workload/effects.ts";
import type { Fleet, Member } from "../../workload/fleet.ts";
import type { OutboxView } from "../../workload/outbox.ts";
import { orAborted } from "../../workload/wait.ts";
import type { DemoBroker } from "../brokers/broker.ts";
import type { Blow } from "../faults/director.ts";
import type { Moment, Pressed } from "../faults/moment.ts";
import type { FaultPlan } from "../faults/plan.ts";
import type { Job } from "./job.ts";

export const PUBLISHERS = 3;
export const CONSUMERS = 3;
/** Calls without an answer, for each publisher. */
const WINDOW = 300;
/** A killed broker stays away for so long before it is started again: in real life somebody has to notice first. */
const DOWN_MS = 500;
/** And so long in the outage: twice the time after which messages are stored. */
const AWAY_MS = 2_000;
/** From one rebalance to the next. */
const REBALANCE_MS = 2_000;
/** The process that relays is killed when so many rows wait for it. */
const LEAST_ROWS = 20;
const LOOK_MS = 20;
/** Nothing has moved for so many times the patience, and something is left all the same. */
const STUCK = 3;
const SETTLE_MS = 150;
const STOP_MS = 12_000;

export interface WorkloadOptions {
  readonly broker: DemoBroker;
  readonly fleet: Fleet<Job>;
  readonly effects: Effects;
  /** Null for a client that has none. */
  readonly outbox: OutboxView | null;
  readonly messages: number;
  /** Messages a second in all. */
  readonly rate: number;
  /** What every process is told alike. */
  readonly shared: Pick<Job, "run" | "ledger" | "effects" | "outbox" | "client" | "seed" | "ordered">;
  readonly bug: Job["bug"];
  /** Without any new effect for so long nothing more is coming, in milliseconds. */
  readonly quiet: number;
  /** Rows that wait for the relay are waited for so long, in milliseconds. */
  readonly patience: number;
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

  /** Publishers have published all. They stay: what waits in the outbox is theirs. */
  get published(): boolean {
    return this.#alive("publisher", PUBLISHERS).every((member) => member?.status.published === true);
  }

  async allPublished(signal: AbortSignal): Promise<void> {
    while (!this.published) await sleep(LOOK_MS, undefined, { signal });
  }

  moment(): Moment {
    const publishers = this.#alive("publisher", PUBLISHERS);
    return {
      accepted: this.#o.fleet.sum("publisher", "accepted"),
      publishing: publishers.map((member) => member?.status.inFlight ?? 0),
      pressed: publishers.every((member) => member !== undefined && (member.status.published || member.status.pressed)),
      handling: this.#alive("consumer", CONSUMERS).map((member) => member?.status.inFlight ?? 0),
      published: this.published,
      relaying: this.#o.outbox === null || this.#relay() !== undefined,
    };
  }

  /** Messages that are accepted and have no effect yet. */
  waiting(): number {
    return this.#o.fleet.sum("publisher", "accepted") - this.#o.effects.bills();
  }

  press(who: Pressed): void {
    const { fleet } = this.#o;
    for (const member of fleet.of("publisher")) member.tell({ type: who === "all" ? "press" : "ease" });
    for (const member of fleet.of("consumer")) member.tell({ type: who === "nobody" ? "ease" : "press" });
  }

  hold(held: boolean): void {
    for (const member of this.#o.fleet.of("publisher")) member.tell({ type: held ? "hold" : "release" });
  }

  async blow({ kind, victim }: FaultPlan, signal: AbortSignal): Promise<Blow | null> {
    const { broker } = this.#o;
    switch (kind) {
      case "broker-killed":
      case "leader-killed":
      case "broker-away": {
        const heal = async (): Promise<void> => {
          await sleep(kind === "broker-away" ? AWAY_MS : DOWN_MS, undefined, { signal });
          await orAborted(broker.restart(), signal);
        };
        return { victim: null, waiting: 0, strike: () => orAborted(broker.kill(), signal), heal };
      }
      case "proxy-killed": {
        const { proxy } = broker;
        if (proxy === null) return null;
        const heal = async (): Promise<void> => {
          await sleep(DOWN_MS, undefined, { signal });
          await orAborted(proxy.restart(), signal);
        };
        return { victim: null, waiting: 0, strike: () => orAborted(proxy.kill(), signal), heal };
      }
      case "connections-cut":
        return { victim: null, waiting: 0, strike: () => orAborted(broker.cut(), signal), heal: async () => {} };
      case "rebalance":
        return this.#rebalance(this.#last("consumer", victim), signal);
      case "publisher-killed":
        return this.#kill(this.#last("publisher", victim), 0, signal);
      case "consumer-killed":
        return this.#kill(this.#busiest(this.#last("consumer", victim)), 0, signal);
      case "relay-killed": {
        const found = await this.#relaying(signal);
        return found === null ? null : this.#kill(found.owner, found.rows, signal);
      }
    }
  }

  /** Nobody is killed: the member says when it is back, and the group gets some time with it. */
  #rebalance(member: Member<Job>, signal: AbortSignal): Blow {
    const before = member.status.joins;
    const strike = async (): Promise<void> => member.tell({ type: "rejoin" });
    const heal = async (): Promise<void> => {
      const next = sleep(REBALANCE_MS, undefined, { signal });
      next.catch(() => {}); // awaited below, unless the run ends first
      while (member.status.joins === before) await sleep(LOOK_MS, undefined, { signal });
      await next;
    };
    return { victim: null, waiting: 0, strike, heal };
  }

  /** The consumer with the most handlers at work: of an ordered topic RabbitMQ serves one, and the others are idle. */
  #busiest(otherwise: Member<Job>): Member<Job> {
    const running = this.#o.fleet.of("consumer").filter((member) => member.running);
    return running.reduce((best, each) => (each.status.inFlight > best.status.inFlight ? each : best), otherwise);
  }

  /** Who holds the lease while rows wait for it; null: that never was. */
  async #relaying(signal: AbortSignal): Promise<{ readonly owner: Member<Job>; readonly rows: number } | null> {
    const { outbox, patience } = this.#o;
    const end = performance.now() + patience;
    while (outbox !== null && performance.now() < end) {
      const rows = await orAborted(outbox.rows(), signal);
      const owner = this.#relay();
      if (owner !== undefined && rows >= LEAST_ROWS) return { owner, rows };
      await sleep(LOOK_MS, undefined, { signal });
    }
    return null;
  }

  /** Who holds the lease, by its own word. */
  #relay(): Member<Job> | undefined {
    return this.#o.fleet.of("publisher").find(({ running, status }) => running && status.relays);
  }

  #kill(member: Member<Job>, waiting: number, signal: AbortSignal): Blow {
    const { fleet } = this.#o;
    const { bug } = member.job;
    const heal = async (): Promise<void> => {
      const successor = await orAborted(fleet.replace(member, { bug: bug === "forgetful" ? bug : null }), signal);
      if (member.job.role === "publisher") successor.tell({ type: "go" });
    };
    return { victim: member.incarnation, waiting, strike: () => member.kill(), heal };
  }

  /**
   * Waits until every accepted order is handled, and then until the duplicates that are still on their way are, too: a
   * queue that is not empty at the end is a finding. Ends early when nothing moves.
   */
  async drain(signal: AbortSignal): Promise<void> {
    const { broker, fleet, effects, outbox, messages, quiet: patience } = this.#o;
    const left = async (): Promise<number> =>
      (await broker.backlog()).reduce((sum, { n }) => sum + n, (await outbox?.rows()) ?? 0);
    const idle = async (): Promise<boolean> => fleet.sum("consumer", "inFlight") === 0 && (await left()) === 0;
    const expected = messages - fleet.sum("publisher", "rejected");
    let [handled, since] = [effects.billed(), performance.now()];
    for (;;) {
      signal.throwIfAborted();
      const still = performance.now() - since;
      const [quiet, done] = [still > patience, handled >= expected];
      if (still > STUCK * patience) break;
      // Twice, since a delivery may be between the queue and its handler, or for a while with nobody.
      if ((done || quiet) && (await orAborted(idle(), signal))) {
        const asked = performance.now();
        await orAborted(broker.returned(), signal);
        await sleep(SETTLE_MS);
        if (await orAborted(idle(), signal)) break;
        since += performance.now() - asked;
      }
      await sleep(50);
      const now = effects.billed();
      if (now !== handled) [handled, since] = [now, performance.now()];
    }
    await orAborted(fleet.stop("publisher", STOP_MS), signal);
    await orAborted(fleet.stop("consumer", STOP_MS), signal);
  }

  /** Those that live now, by number; undefined where there is none at the moment. */
  #alive(role: Job["role"], count: number): readonly (Member<Job> | undefined)[] {
    return Array.from({ length: count }, (_, n) => {
      const last = this.#o.fleet.of(role).findLast(({ job }) => job.proc === procOf(role, n));
      return last?.running === true ? last : undefined;
    });
  }

  #last(role: Job["role"], n: number): Member<Job> {
    return this.#o.fleet.last(procOf(role, n));
  }

  #job(role: Job["role"], n: number): Job {
    const { broker, messages, rate, shared, bug } = this.#o;
    const share = { first: n, step: PUBLISHERS, end: messages, rate: rate / PUBLISHERS, window: WINDOW };
    const theirs = bug === "forgetful" ? "publisher" : "consumer";
    return {
      ...shared,
      role,
      proc: procOf(role, n),
      epoch: 1,
      crash: null,
      endpoint: broker.endpoint,
      share: role === "publisher" ? share : null,
      bug: role === theirs ? bug : null,
    };
  }
}

function procOf(role: Job["role"], n: number): string {
  return `${role}-${n + 1}`;
}
