import { count, oneOf, optionsOf, UsageError } from "../command.ts";

export const BROKERS = ["memory", "rabbitmq", "kafka", "rocketmq"] as const;
export const CLIENTS = ["tally", "amqplib"] as const;
/** Where messages wait while the broker is away, and what makes effects once; plain clients have none. */
export const STORES = ["sqlite"] as const;
export type BrokerName = (typeof BROKERS)[number];
export type ClientName = (typeof CLIENTS)[number];
export type StoreName = (typeof STORES)[number] | "none";

export interface Settings {
  readonly broker: BrokerName;
  readonly client: ClientName;
  readonly store: StoreName;
  readonly messages: number;
  /** Bodies, customers, the moments of the faults and the killed consumer follow from it; the processes' timing does not. */
  readonly seed: number;
  /** File for the figures, or null. */
  readonly json: string | null;
  /** File for the page, or null for the usual one. */
  readonly report: string | null;
}

export const USAGE = `npm run demo -- [options]

  --broker NAME    ${BROKERS.join(" | ")}  (default memory)
  --store NAME     ${STORES.join(" | ")}  (default sqlite; amqplib has none)
  --client NAME    ${CLIENTS.join(" | ")}  (default tally; amqplib needs rabbitmq)
  --messages N     messages in all  (default 20000)
  --seed S         bodies, and the moments of the faults  (default 1)
  --json FILE      writes the figures
  --report FILE    writes the page  (default .tally/demo-BROKER.html)

Exit code: 0 VALID, 1 INVALID, 2 UNKNOWN (or the run could not be made).`;

const OPTIONS = ["broker", "client", "store", "messages", "seed", "json", "report"] as const;

/** @throws UsageError */
export function parseArguments(argv: readonly string[]): Settings | null {
  const given = optionsOf(argv, OPTIONS);
  if (given === null) return null;
  const client = oneOf("client", CLIENTS, given.client ?? "tally");
  if (client === "amqplib" && given.store !== undefined) throw new UsageError("--client amqplib has no --store");
  const settings: Settings = {
    broker: oneOf("broker", BROKERS, given.broker ?? "memory"),
    client,
    store: client === "amqplib" ? "none" : oneOf("store", STORES, given.store ?? "sqlite"),
    messages: count("messages", given.messages ?? "20000", 100, 100_000_000),
    seed: count("seed", given.seed ?? "1", 0, 0xffff_ffff),
    json: given.json ?? null,
    report: given.report ?? null,
  };
  if (settings.client === "amqplib" && settings.broker !== "rabbitmq")
    throw new UsageError("--client amqplib speaks to --broker rabbitmq only");
  return settings;
}
