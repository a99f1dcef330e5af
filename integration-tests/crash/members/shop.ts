import { openTally, type Tally, topic, type Topic } from "@tallymq/core";
import { sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import { brokerAt } from "../../workload/endpoint.ts";
import { linesOf } from "../../workload/lines.ts";
import type { Order } from "../../workload/order.ts";
import type { Member } from "../../workload/process.ts";
import { SCENARIOS } from "../scenarios.ts";
import { GROUP, type Job } from "./job.ts";

export function ordersOf({ topic: name, scenario }: Pick<Job, "topic" | "scenario">): Topic<Order> {
  const { ordered } = SCENARIOS[scenario];
  return topic<Order>(name, { key: (order) => order.customer, ordered, groups: [GROUP] });
}

/** Where orders go on to, in scenario `forward`. */
export function billedOf({ topic: name }: Pick<Job, "topic">): Topic<Order> {
  return topic<Order>(`${name}-bills`, { key: (order) => order.customer, groups: [GROUP] });
}

/** A tally in a hurry: everything that waits waits for as short as it may, so that a run takes seconds. */
export async function openShop({ job, ledger }: Member<Job>): Promise<Tally<SqliteTx>> {
  return await openTally<SqliteTx>({
    service: "shop",
    broker: await brokerAt(job.endpoint),
    topics: [ordersOf(job)],
    ...(job.role === "publisher" ? { outbox: sqlite(job.outbox) } : { inbox: sqlite(job.effects) }),
    // So few at a time that a crash finds others waiting.
    spill: { after: "150ms", relayWindow: 20 },
    reconnect: { min: "20ms", max: "100ms" },
    onEvent: (event) => {
      for (const op of linesOf(event)) ledger.write(op);
    },
  });
}
