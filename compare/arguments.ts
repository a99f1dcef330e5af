import { count, optionsOf, UsageError } from "../integration-tests/command.ts";
import { BROKERS, clientsOf } from "./clients/index.ts";
import type { Plan } from "./faults/run.ts";

export interface Settings extends Plan {
  readonly json: string | null;
}

/** Named in the plan, not built yet. */
const LATER = ["kafka", "rocketmq"];

export const USAGE = `npm run compare -- faults --broker NAME [options]

  --broker NAME      ${BROKERS.join(" | ")}
  --messages N       of each client  (default 20000)
  --rate N           messages a second of each client  (default 1000)
  --kills N          kill -9 of the broker, and restart  (default 2)
  --clients A,B      some of ${BROKERS.map((broker) => clientsOf(broker).join(", ")).join("; ")}  (default all)
  --json FILE        writes the figures

Exit code: 0 Tally lost, rejected and doubled nothing, 1 it did, 2 the run could not be made.`;

const OPTIONS = ["broker", "messages", "rate", "kills", "clients", "json"] as const;

/** @throws UsageError */
export function parseArguments(argv: readonly string[]): Settings | null {
  const [what, ...rest] = argv[0]?.startsWith("-") === false ? argv : ["", ...argv];
  const given = optionsOf(rest, OPTIONS);
  if (given === null) return null;
  const { broker, messages, rate, kills, clients, json } = given;
  if (what !== "faults") throw new UsageError(`what is compared is "faults"; not ${JSON.stringify(what)}`);
  if (broker === undefined) throw new UsageError(`--broker is one of ${BROKERS.join(", ")}; it must be given`);
  if (LATER.includes(broker))
    throw new UsageError(`--broker ${broker} cannot be compared yet: ${BROKERS.join(", ")} only`);
  if (!BROKERS.includes(broker))
    throw new UsageError(`--broker is one of ${BROKERS.join(", ")}; not ${JSON.stringify(broker)}`);
  const known = clientsOf(broker);
  const chosen = clients === undefined ? known : clients.split(",");
  const stranger = chosen.find((client) => !known.includes(client));
  if (stranger !== undefined)
    throw new UsageError(`--clients are some of ${known.join(", ")}; not ${JSON.stringify(stranger)}`);
  return {
    broker,
    clients: known.filter((client) => chosen.includes(client)),
    messages: count("messages", messages ?? "20000", 100, 10_000_000),
    rate: count("rate", rate ?? "1000", 1, 100_000),
    kills: count("kills", kills ?? "2", 1, 20),
    json: json ?? null,
  };
}
