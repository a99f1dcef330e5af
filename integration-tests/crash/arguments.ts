import type { Failpoint } from "@tallymq/testkit/crash";
import { count, optionsOf, UsageError } from "../command.ts";
import { BROKERS, type BrokerName } from "./broker.ts";
import { OF_CONSUMERS, POINTS } from "./scenarios.ts";

export interface Settings {
  readonly brokers: readonly BrokerName[];
  /** On each of them. */
  readonly points: Readonly<Record<BrokerName, readonly Failpoint[]>>;
  readonly rounds: number;
  readonly seed: number;
  readonly jobs: number;
  readonly json: string | null;
}

export const USAGE = `npm run crash -- [options]

  --broker NAME    ${BROKERS.join(" | ")}  (default all)
  --point NAME     a failpoint, or the first part of some: inbox, relay.sent; or all
                   (default all, but on kafka those of a consumer)
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
  const all = point === undefined || point === "all";
  const named = POINTS.filter((name) => all || name === point || name.startsWith(`${point}.`));
  if (named.length === 0) throw new UsageError(`no failpoint ${point}; there are ${POINTS.join(", ")}`);
  return {
    brokers,
    // A killed member's partitions stand still for its session time-out, so that a run takes longer there.
    points: { memory: named, rabbitmq: named, kafka: point === undefined ? OF_CONSUMERS : named },
    rounds: count("rounds", rounds, 1, 10_000),
    seed: count("seed", seed, 0, 1_000_000_000),
    jobs: count("jobs", jobs, 1, 64),
    json: json ?? null,
  };
}
