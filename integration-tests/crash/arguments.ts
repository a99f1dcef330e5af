import type { Failpoint } from "@tallymq/testkit/crash";
import { count, optionsOf, UsageError } from "../command.ts";
import { BROKERS, type BrokerName } from "./broker.ts";
import { POINTS } from "./scenarios.ts";

export interface Settings {
  readonly brokers: readonly BrokerName[];
  readonly points: readonly Failpoint[];
  readonly rounds: number;
  readonly seed: number;
  readonly jobs: number;
  readonly json: string | null;
}

export const USAGE = `npm run crash -- [options]

  --broker NAME    ${BROKERS.join(" | ")}  (default both)
  --point NAME     a failpoint, or the first part of some: inbox, relay.sent  (default all)
  --rounds N       runs of each point on each broker, each at another pass of it  (default 1)
  --seed S         draws the passes  (default 1)
  --jobs N         runs side by side  (default 4)
  --json FILE      writes the figures

Exit code: 0 VALID, 1 INVALID, 2 UNKNOWN (or the runs could not be made).`;

const OPTIONS = ["broker", "point", "rounds", "seed", "jobs", "json"] as const;

/** @throws UsageError */
export function parseArguments(argv: readonly string[]): Settings | null {
  const given = optionsOf(argv, OPTIONS);
  if (given === null) return null;
  const { broker, point, rounds = "1", seed = "1", jobs = "4", json } = given;
  const brokers = BROKERS.filter((name) => broker === undefined || name === broker);
  if (brokers.length === 0) throw new UsageError(`--broker is one of ${BROKERS.join(", ")}; not ${broker}`);
  const points = POINTS.filter((name) => point === undefined || name === point || name.startsWith(`${point}.`));
  if (points.length === 0) throw new UsageError(`no failpoint ${point}; there are ${POINTS.join(", ")}`);
  return {
    brokers,
    points,
    rounds: count("rounds", rounds, 1, 10_000),
    seed: count("seed", seed, 0, 1_000_000_000),
    jobs: count("jobs", jobs, 1, 64),
    json: json ?? null,
  };
}
