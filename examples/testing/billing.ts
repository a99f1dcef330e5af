// What is tested in billing.test.ts (vitest) and billing.node-test.ts (node:test): a service's consumer, as the service
// itself starts it. It is given its tally, so that a test can give it another broker.
import { type Consumer, deadLetter, retry, type Tally } from "@tallymq/core";
import type { SqliteTx } from "@tallymq/store-sqlite";
import { orders } from "../orders.ts";

/** Bills each order once, in the database that holds the inbox. What the card's bank declines is given up. */
export function startBilling(tally: Tally<SqliteTx>): Promise<Consumer> {
  return tally
    .consumer("billing", {
      effect: "tx",
      onError: (error, { attempt }) =>
        error.cause instanceof Declined || attempt === 5 ? deadLetter(error.message) : retry({ after: "1ms" }),
    })
    .on(orders, async (order, { tx }) => {
      if (order.cents > 1_000_000) throw new Declined(order.id);
      await tx.run("INSERT INTO bills (order_id, cents) VALUES (?, ?)", [order.id, order.cents]);
    })
    .start();
}

class Declined extends Error {
  constructor(id: string) {
    super(`${id}: the card was declined`);
  }
}
