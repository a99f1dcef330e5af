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

/**
 * Clients go on while a part is away, and those who reach the point of the next kill before it serves again wait there.
 *
 * @param signal ends the waiting, not a kill that has begun
 */
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
  const failed = new AbortController();
  const over = AbortSignal.any([signal, failed.signal]);
  let back = -Infinity;
  let restarting = Promise.resolve();
  for (const [n, share] of sharesOf(plan.kills).entries()) {
    const part = broker.parts[n % broker.parts.length]!;
    await allAt(fleet, share * plan.messages, BEYOND * plan.messages, () => back + BREATH_MS, over);
    const at = seconds(started);
    const killed = performance.now();
    await broker.kill(part);
    const inFlight = Object.fromEntries(publishing(fleet).map((m) => [m.job.client, m.status.inFlight]));
    say(`${part} killed at ${at.toFixed(1)} s, in flight: ${Object.values(inFlight).join(", ")}`);
    back = Infinity;
    const again = async (): Promise<void> => {
      await broker.restart(part);
      back = performance.now();
      kills.push({ part, at, lasted: seconds(killed), inFlight });
      say(`${part} serves again after ${seconds(killed).toFixed(1)} s`);
    };
    restarting = again().catch((error: unknown) => failed.abort(error));
  }
  await restarting;
  over.throwIfAborted();
  return kills;
}

/** Resolves when each that publishes has called so many and it is not too early; those who are there first wait. */
async function allAt(
  fleet: Fleet<Job>,
  due: number,
  beyond: number,
  notBefore: () => number,
  signal: AbortSignal,
): Promise<void> {
  const held = new Set<Member<Job>>();
  for (;;) {
    signal.throwIfAborted();
    const members = publishing(fleet);
    if (members.every(({ status }) => status.invoked >= due) && performance.now() >= notBefore()) break;
    for (const member of members) {
      if (member.status.invoked < due + beyond || held.has(member)) continue;
      held.add(member);
      member.tell({ type: "hold" });
    }
    await sleep(LOOK_MS);
  }
  for (const member of held) member.tell({ type: "release" });
  await sleep(WARM_MS);
}

function publishing(fleet: Fleet<Job>): readonly Member<Job>[] {
  return fleet.members.filter(({ running, status }) => running && !status.published);
}
