import { count, optionsOf } from "../command.ts";

export interface Settings {
  readonly transactions: number;
  readonly killed: number;
  readonly together: number;
  readonly downtimes: number;
  readonly seed: number;
  readonly json: string | null;
}

export const USAGE = `npm run halves -- [options]

  --transactions N  half messages, by two producer processes  (default 2000)
  --killed N        transactions that stand in each window when their process is killed, at least  (default 200)
  --together N      transactions at a time in a producer, and killed together where there are so many  (default 25)
  --downtimes N     times that no producer lives for longer than the broker asks  (default 2)
  --seed S          draws what becomes of each transaction  (default 1)
  --json FILE       writes the figures

Exit code: 0 VALID, 1 INVALID, 2 UNKNOWN (or the run could not be made).`;

const OPTIONS = ["transactions", "killed", "together", "downtimes", "seed", "json"] as const;

/** @throws UsageError */
export function parseArguments(argv: readonly string[]): Settings | null {
  const given = optionsOf(argv, OPTIONS);
  if (given === null) return null;
  const { transactions = "2000", killed = "200", together = "25", downtimes = "2", seed = "1", json } = given;
  return {
    transactions: count("transactions", transactions, 10, 1_000_000),
    killed: count("killed", killed, 0, 100_000),
    together: count("together", together, 1, 1_000),
    downtimes: count("downtimes", downtimes, 0, 100),
    seed: count("seed", seed, 0, 1_000_000_000),
    json: json ?? null,
  };
}
