import type { Broker } from "@tallymq/core";

/** What a workload process needs to connect; travels as JSON. */
export type Endpoint =
  | { readonly broker: "memory"; readonly at: string }
  | { readonly broker: "rabbitmq"; readonly url: string }
  | { readonly broker: "kafka"; readonly brokers: readonly string[] }
  | { readonly broker: "rocketmq"; readonly endpoints: readonly string[]; readonly names: readonly string[] };

/** What a consumer of RocketMQ takes and does not renew is nobody's for so long: the least that its proxy allows. */
export const INVISIBLE_MS = 10_000;

/** Loaded when asked for: a run on the embedded broker must not need a driver. */
export async function brokerAt(endpoint: Endpoint): Promise<Broker> {
  switch (endpoint.broker) {
    case "memory":
      return (await import("@tallymq/testkit")).memory({ at: endpoint.at });
    case "rabbitmq":
      return (await import("@tallymq/rabbitmq")).rabbitmq({ urls: [endpoint.url] });
    case "kafka":
      // A killed consumer's partitions stand still for the session time-out: these runs are in a hurry.
      return (await import("@tallymq/kafka")).kafka({
        brokers: endpoint.brokers,
        sessionTimeout: "3s",
        heartbeat: "500ms",
      });
    case "rocketmq":
      // What a killed consumer had in hand is nobody's for so long.
      return (await import("@tallymq/rocketmq")).rocketmq({
        endpoints: endpoint.endpoints,
        names: endpoint.names,
        invisible: INVISIBLE_MS,
        heartbeat: "1s",
        receiveWait: "1s",
      });
  }
}
