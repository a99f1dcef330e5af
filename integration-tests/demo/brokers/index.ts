import type { BrokerName } from "../arguments.ts";
import type { DemoBroker } from "./broker.ts";

/** @param folder for the broker's data, where it keeps them itself */
export async function startBroker(
  name: BrokerName,
  folder: string,
  progress: (line: string) => void,
): Promise<DemoBroker> {
  // Each is loaded when asked for: the embedded broker needs no containers' tools.
  switch (name) {
    case "memory":
      return await (await import("./memory.ts")).startMemory(folder);
    case "rabbitmq":
      return await (await import("./rabbitmq.ts")).startRabbitmq(progress);
    case "kafka":
      return await (await import("./kafka.ts")).startKafkaBroker(progress);
    case "rocketmq":
      return await (await import("./rocketmq.ts")).startRocketmq(progress);
  }
}
