import { setTimeout as sleep } from "node:timers/promises";
import type { Fleet, Member } from "../../integration-tests/workload/fleet.ts";
import type { ComparedBroker } from "./broker.ts";
import type { Job } from "./job.ts";

/** One kill -9 of a part of the broker, and its restart. Seconds since the clients began. */
export interface Kill {
  readonly part: string;
  readonly at: number;
  /** Until the broker served again. */
  readonly lasted: number;
  /** Calls without an answer when it was dead, by client; of those that still had something to publish. */
  readonly inFlight: Readonly<Record<string, number>>;
}

const LOOK_MS = 10;
/** A client that is so far beyond the point of the next kill waits there, so that it finds all of them publishing. */
const BEYOND = 0.02;
/** Between a restart and the next kill: for every client to come back, slow ones too. */
const BREATH_MS = 6_000;
/** Clients that waited publish again for so long before the kill. */
const WARM_MS = 300;

/** When the broker is killed: shares of all messages, by what has been called. Time says nothing on a slow machine. */
export function sharesOf(kills: number): readonly number[] {
  const [first, last] = [0.2, 0.75];
  if (kills === 1) return [0.4];
  return Array.from({ length: kills }, (_, k) => first + ((last - first) * k) / (kills - 1));
}

/** @param signal ends the waiting, not a kill that has begun */
export async function killAndRestart(
  broker: ComparedBroker,
  fleet: Fleet<Job>,
  plan: { readonly messages: number; readonly kills: number },
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<readonly Kill[]> {
  const started = performance.now();
  const seconds = (since: number): number => (performance.now() - since) / 1000;
  const kills: Kill[] = [];
  let back = -Infinity;
  const shares = sharesOf(plan.kills);
  for (const [n, share] of shares.entries()) {
    const part = broker.parts[n % broker.parts.length]!;
    await allAt(fleet, share * plan.messages, BEYOND * plan.messages, () => back + BREATH_MS, signal);
    const at = seconds(started);
    const killed = performance.now();
    await broker.kill(part);
    const inFlight = Object.fromEntries(publishing(fleet).map((m) => [m.job.client, m.status.inFlight]));
    say(`${part} killed at ${at.toFixed(1)} s, in flight: ${Object.values(inFlight).join(", ")}`);
    const halfWay = (share + (shares[n + 1] ?? 1)) / 2;
    await restarted(fleet, halfWay * plan.messages, broker.restart(part));
    back = performance.now();
    kills.push({ part, at, lasted: seconds(killed), inFlight });
    say(`${part} serves again after ${seconds(killed).toFixed(1)} s`);
  }
  return kills;
}

/**
 * Until it serves again clients go on, up to half of what they have left before the next kill; the other half shows who
 * comes back.
 */
async function restarted(fleet: Fleet<Job>, most: number, restart: Promise<void>): Promise<void> {
  using held = new Held();
  let over = false;
  const end = (): void => {
    over = true;
  };
  restart.then(end, end);
  while (!over) {
    held.from(most, publishing(fleet));
    await sleep(LOOK_MS);
  }
  await restart;
}

/** Resolves when each that publishes has called so many and it is not too early; those who are there first wait. */
async function allAt(
  fleet: Fleet<Job>,
  due: number,
  beyond: number,
  notBefore: () => number,
  signal: AbortSignal,
): Promise<void> {
  {
    using held = new Held();
    for (;;) {
      signal.throwIfAborted();
      const members = publishing(fleet);
      if (members.every(({ status }) => status.invoked >= due) && performance.now() >= notBefore()) break;
      held.from(due + beyond, members);
      await sleep(LOOK_MS);
    }
  }
  await sleep(WARM_MS);
}

/** Clients that wait, until this is over. */
class Held implements Disposable {
  readonly #held: Set<Member<Job>> = new Set();

  from(most: number, members: readonly Member<Job>[]): void {
    for (const member of members) {
      if (member.status.invoked < most || this.#held.has(member)) continue;
      this.#held.add(member);
      member.tell({ type: "hold" });
    }
  }

  [Symbol.dispose](): void {
    for (const member of this.#held) member.tell({ type: "release" });
  }
}

function publishing(fleet: Fleet<Job>): readonly Member<Job>[] {
  return fleet.members.filter(({ running, status }) => running && !status.published);
}
