import { count, optionsOf, UsageError } from "../integration-tests/command.ts";
import { BROKERS, clientsOf } from "./clients/index.ts";
import { KAFKA_CLIENTS } from "./clients/kafka/index.ts";
import type { KafkaPlan } from "./faults/kafka/run.ts";
import { SCENARIOS } from "./faults/kafka/scenarios.ts";
import type { Plan } from "./faults/run.ts";

/** For RabbitMQ and RocketMQ: kills of the broker. */
export interface Settings extends Plan {
  readonly json: string | null;
}

/** For Kafka: scenario after scenario. */
export interface KafkaSettings extends KafkaPlan {
  readonly broker: "kafka";
  readonly json: string | null;
}

const KNOWN = [...BROKERS, "kafka"];
const SCENARIO_NAMES = SCENARIOS.map(({ name }) => name);

export const USAGE = `npm run compare -- faults --broker NAME [options]

  --broker NAME      ${KNOWN.join(" | ")}
  --messages N       of each client  (default 20000; kafka: 1500 in each scenario)
  --rate N           messages a second of each client  (default 1000; rocketmq: 500; kafka: 150)
  --kills N          not kafka: kill -9 of the broker, and restart; rocketmq: of broker and proxy in turn  (default 2)
  --scenarios A,B    kafka: some of ${SCENARIO_NAMES.join(", ")}  (default all)
  --clients A,B      some of ${[...BROKERS.map(clientsOf), KAFKA_CLIENTS].map((names) => names.join(", ")).join("; ")}  (default all)
  --json FILE        writes the figures

Exit code: 0 Tally lost, rejected and doubled nothing, 1 it did, 2 the run could not be made.`;

const OPTIONS = ["broker", "messages", "rate", "kills", "scenarios", "clients", "json"] as const;

/** @throws UsageError */
export function parseArguments(argv: readonly string[]): Settings | KafkaSettings | null {
  const [what, ...rest] = argv[0]?.startsWith("-") === false ? argv : ["", ...argv];
  const given = optionsOf(rest, OPTIONS);
  if (given === null) return null;
  const { broker, messages, rate, kills, scenarios, clients, json } = given;
  if (what !== "faults") throw new UsageError(`what is compared is "faults"; not ${JSON.stringify(what)}`);
  if (broker === undefined) throw new UsageError(`--broker is one of ${KNOWN.join(", ")}; it must be given`);
  if (!KNOWN.includes(broker))
    throw new UsageError(`--broker is one of ${KNOWN.join(", ")}; not ${JSON.stringify(broker)}`);
  const [other, meant] = broker === "kafka" ? ["kills", kills] : ["scenarios", scenarios];
  if (meant !== undefined) throw new UsageError(`--${other} means nothing with --broker ${broker}`);
  if (broker === "kafka")
    return {
      broker,
      scenarios: some("scenarios", SCENARIO_NAMES, scenarios),
      clients: some("clients", KAFKA_CLIENTS, clients),
      messages: count("messages", messages ?? "1500", 100, 1_000_000),
      rate: count("rate", rate ?? "150", 1, 10_000),
      json: json ?? null,
    };
  return {
    broker,
    clients: some("clients", clientsOf(broker), clients),
    messages: count("messages", messages ?? "20000", 100, 10_000_000),
    rate: count("rate", rate ?? (broker === "rocketmq" ? "500" : "1000"), 1, 100_000),
    kills: count("kills", kills ?? "2", 1, 20),
    json: json ?? null,
  };
}

/** In the order in which they are known; all, if none are named. */
function some(option: string, known: readonly string[], given: string | undefined): readonly string[] {
  const chosen = given === undefined ? known : given.split(",");
  const stranger = chosen.find((one) => !known.includes(one));
  if (stranger !== undefined)
    throw new UsageError(`--${option} are some of ${known.join(", ")}; not ${JSON.stringify(stranger)}`);
  return known.filter((one) => chosen.includes(one));
}
