import { type Broker, openTally, type Tally, TallyError, type TallyEvent, topic } from "@tallymq/core";
import type { Endpoint } from "../brokers/broker.ts";
import { GROUP, TOPIC, type Order } from "../workload/order.ts";
import { type Client, type Notes, Rejected } from "./client.ts";

const orders = topic<Order>(TOPIC, { key: (order) => order.customer, groups: [GROUP] });

/** Tally as its README shows it, with its defaults. */
export const tally: Client = {
  brokers: ["memory", "rabbitmq"],
  awaitsAnswer: true,
  countsResends: true,

  async publisher(endpoint, notes) {
    const shop = await open(endpoint, notes);
    return {
      async publish(order) {
        try {
          return (await shop.publish(orders, order, { id: order.id })).state;
        } catch (error) {
          throw new Rejected((error as Error).message, TallyError.is(error) && !error.mayArrive, error);
        }
      },
      resends: () => shop.counters().resend ?? 0,
      [Symbol.asyncDispose]: () => shop.close({ within: "10s" }),
    };
  },

  async consumer(endpoint, _name, handle, notes) {
    const shop = await open(endpoint, notes);
    await shop
      .consumer(GROUP)
      .on(orders, (order, { deliveries }) => handle(order, deliveries))
      .start();
    return { [Symbol.asyncDispose]: () => shop.close({ within: "10s" }) };
  },
};

async function open(endpoint: Endpoint, notes: Notes): Promise<Tally> {
  return await openTally({
    service: "shop",
    broker: await brokerAt(endpoint),
    topics: [orders],
    onEvent: (event) => note(event, notes),
  });
}

/** Loaded when asked for: a run on the embedded broker must not need a driver. */
async function brokerAt(endpoint: Endpoint): Promise<Broker> {
  switch (endpoint.broker) {
    case "memory":
      return (await import("@tallymq/testkit")).memory({ at: endpoint.at });
    case "rabbitmq":
      return (await import("@tallymq/rabbitmq")).rabbitmq({ urls: [endpoint.url] });
  }
}

function note(event: TallyEvent, notes: Notes): void {
  if (event.type === "resend") notes.resent(event.id, event.copy);
  else notes.surfaced(event.type, "id" in event ? event.id : null);
}
