import type { FaultKind } from "../faults/plan.ts";
import type { DemoReport } from "../judge.ts";
import type { Recovery, TimelineFault } from "./timeline.ts";

export const FAULT_WORDS: Readonly<Record<FaultKind, string>> = {
  "broker-killed": "broker killed",
  "broker-away": "broker away",
  "leader-killed": "leader killed",
  "proxy-killed": "proxy killed",
  rebalance: "group rebalanced",
  "publisher-killed": "publisher killed",
  "relay-killed": "relay killed",
  "connections-cut": "all connections cut",
  "consumer-killed": "consumer killed",
};

export function number(n: number): string {
  return n.toLocaleString("en-US");
}

export function seconds(s: number): string {
  return s < 0.0995 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(1)} s`;
}

/** A silence shorter than this is the ordinary distance between two messages on a busy machine, seconds. */
const NOTICEABLE = 0.05;

/** How the flow went on after a fault. */
export function recovered({ silence, after }: Recovery): string {
  if (silence === null || after === null) return "never";
  if (silence < NOTICEABLE) return "went on";
  return after < 0.002 ? "at once" : `after ${seconds(after)}`;
}

/** When the last of the processes had recovered, where that was noticeably later; else nothing. */
export function slowest({ after, slowest: last }: Recovery): string {
  return after === null || last === null || last < after + 2 * NOTICEABLE ? "" : `last process ${seconds(last)}`;
}

export function faultName({ kind, victim }: TimelineFault): string {
  if (victim === null) return FAULT_WORDS[kind];
  return kind === "relay-killed" ? `${victim.proc} killed, which relays` : `${victim.proc} killed`;
}

/** What of it was where. */
export function inFlight({ publishing, handling, waiting }: TimelineFault): string {
  const stored = waiting === 0 ? [] : [`${number(waiting)} stored`];
  return [`${number(publishing)} unanswered`, `${number(handling)} in handlers`, ...stored].join(", ");
}

export type Must = "all" | "none" | "some" | null;

export interface Figure {
  readonly name: string;
  readonly value: number;
  /** What it has to be for the run to count. */
  readonly must: Must;
  readonly good: boolean;
}

/** The table, in its order. */
export function figuresOf({ figures, settings, timeline }: DemoReport): readonly Figure[] {
  // On Kafka the client repeats in place: whether one of its repeats is given up and sent again is chance.
  const resent = settings.client === "tally" && settings.broker !== "kafka" && timeline.faults.length > 0;
  const away = timeline.faults.some(({ kind }) => kind === "broker-away");
  const row = (name: string, value: number, must: Must): Figure => ({
    name,
    value,
    must,
    good: isGood(value, must, settings.messages),
  });
  return [
    row("accepted", figures.accepted, "all"),
    row("lost", figures.lost, "none"),
    row("rejected", figures.rejected, "none"),
    row("duplicate deliveries", figures.duplicateDeliveries, "some"),
    row("duplicate effects", figures.duplicateEffects, "none"),
    row("resends", figures.resends, resent ? "some" : null),
    ...(figures.store === "none" ? [] : [row("spilled", figures.spilled, away ? "some" : null)]),
  ];
}

function isGood(value: number, must: Must, all: number): boolean {
  switch (must) {
    case "all":
      return value === all;
    case "none":
      return value === 0;
    case "some":
      return value > 0;
    case null:
      return true;
  }
}
