import { openTally, type Tally, TallyError, type TallyEvent, topic } from "@tallymq/core";
import { sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import { brokerAt } from "../../workload/endpoint.ts";
import type { Order } from "../../workload/order.ts";
import { GROUP, type Job, TOPIC } from "../workload/job.ts";
import { type Client, type Notes, Rejected } from "./client.ts";

const orders = topic<Order>(TOPIC, { key: (order) => order.customer, groups: [GROUP] });

/** What a killed consumer was at waits for so long: the demo is in a hurry. */
const LEASE = "3s";

/** Tally as its README shows it, lanes too; its defaults but for the lease. */
export const tally: Client = {
  brokers: ["memory", "rabbitmq"],
  awaitsAnswer: true,
  countsResends: true,

  async publisher(job, notes) {
    const shop = await open(job, notes);
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

  async consumer(job, handle, notes) {
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
  const { role, endpoint, outbox, effects } = job;
  return await openTally<SqliteTx>({
    service: "shop",
    broker: await brokerAt(endpoint),
    topics: [orders],
    ...(role === "publisher" && outbox !== null ? { outbox: sqlite(outbox) } : {}),
    ...(role === "consumer" ? { inbox: sqlite(effects) } : {}),
    onEvent: (event) => note(event, notes),
  });
}

function note(event: TallyEvent, notes: Notes): void {
  if (event.type === "resend") notes.resent(event.id, event.copy);
  else if (event.type === "duplicate") notes.duplicate(event.id ?? "");
  else if (event.type === "relay-started" || event.type === "relay-stopped")
    notes.relays(event.type === "relay-started");
  else if (event.type === "surfaced") notes.surfaced(`surfaced: ${event.what}: ${event.text}`, null);
  else if (event.type !== "spilled") notes.surfaced(event.type, "id" in event ? event.id : null);
}
