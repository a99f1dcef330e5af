import { openTally, type Tally, TallyError, topic, type Topic } from "@tallymq/core";
import { sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import { brokerAt } from "../../workload/endpoint.ts";
import { linesOf } from "../../workload/lines.ts";
import type { Order } from "../../workload/order.ts";
import { Rejected } from "../../workload/publishing.ts";
import { GROUP, type Job, TOPIC } from "../workload/job.ts";
import type { Client, Notes } from "./client.ts";
import { unsettled } from "./unsettled.ts";

const ordersOf = ({ ordered }: Job): Topic<Order> =>
  topic<Order>(TOPIC, { key: (order) => order.customer, groups: [GROUP], ordered });

/** What a killed consumer was at waits for so long: the demo is in a hurry. */
const LEASE = "3s";

/** Tally as its README shows it, lanes too; its defaults but for the lease. */
export const tally: Client = {
  brokers: ["memory", "rabbitmq", "kafka", "rocketmq"],
  awaitsAnswer: true,
  countsResends: true,

  async publisher(job, notes) {
    const orders = ordersOf(job);
    const shop = await open(job, notes);
    return {
      async publish(order) {
        try {
          return (await shop.publish(orders, order, { id: order.id })).state;
        } catch (error) {
          throw new Rejected((error as Error).message, TallyError.is(error) && !error.mayArrive, error);
        }
      },
      [Symbol.asyncDispose]: () => shop.close({ within: "10s" }),
    };
  },

  async consumer(job, handle, notes) {
    const orders = ordersOf(job);
    const shop = await open(job, notes);
    if (job.bug === "no-inbox")
      await shop
        .consumer(GROUP, { effect: "none", lanes: 64 })
        .on(orders, (order, { deliveries }) => handle(order, deliveries, null))
        .start();
    else
      await shop
        .consumer(GROUP, { effect: "tx", lanes: 64, lease: LEASE })
        .on(orders, (order, { deliveries, tx }) => handle(order, deliveries, (sql, values) => tx.run(sql, values)))
        .start();
    return { [Symbol.asyncDispose]: () => shop.close({ within: "10s" }) };
  },
};

async function open(job: Job, notes: Notes): Promise<Tally<SqliteTx>> {
  const { role, endpoint, outbox, effects, bug } = job;
  const broker = await brokerAt(endpoint);
  return await openTally<SqliteTx>({
    service: "shop",
    broker: bug === "unsettled" ? unsettled(broker) : broker,
    topics: [ordersOf(job)],
    ...(role === "publisher" && outbox !== null ? { outbox: sqlite(outbox) } : {}),
    ...(role === "consumer" ? { inbox: sqlite(effects) } : {}),
    onEvent: (event) => {
      for (const op of linesOf(event)) notes.line(op);
      if (event.type === "relay-started" || event.type === "relay-stopped")
        notes.relays(event.type === "relay-started");
    },
  });
}
