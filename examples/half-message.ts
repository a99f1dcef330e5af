// Half message: a message that is stored before the work that it tells of, and sent only if that work was done. For work that
// cannot share a transaction with the outbox: another database, a card terminal.
//
//   node examples/half-message.ts                              on the embedded broker
//   AMQP_URL=amqp://localhost node examples/half-message.ts    on RabbitMQ
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTally } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { broker } from "./broker.ts";
import { orders } from "./orders.ts";

const directory = mkdtempSync(join(tmpdir(), "tally-example-"));
/** Somebody else's: it takes money, and can be asked what it has done. */
const terminal = { paid: new Set<string>(), pay: (id: string) => void terminal.paid.add(id) };

{
  await using tally = await openTally({
    service: "till",
    broker: broker(),
    outbox: sqlite(join(directory, "outbox.db")),
  });

  const billed: string[] = [];
  const all = Promise.withResolvers<void>();
  await using _billing = await tally
    .consumer("billing")
    .on(orders, ({ id }) => {
      billed.push(id);
      if (billed.length === 2) all.resolve();
    })
    .start();

  // Declared at start: a restarted till, and every other one of the service, can tell what became of a payment.
  const payment = tally.half("payment", {
    topic: orders,
    check: (order) => (terminal.paid.has(order.id) ? "commit" : "rollback"),
  });

  const order = (n: number) => ({ id: `order-${n}`, customer: "ada", cents: n * 100 });
  const paid = await payment.run(order(1), ({ id }) => (terminal.pay(id), "commit"), { id: "order-1" });
  console.log(`order-1: ${paid.decision}, ${paid.receipt?.state}`);

  const declined = (): never => {
    throw new Error("declined");
  };
  await payment
    .run(order(2), declined, { id: "order-2" })
    .catch((error: Error) => console.log(`order-2: ${error.message}, rolled back`));

  // The terminal takes the money, and its answer is lost; so it would be if this process were killed here.
  const lost = await payment.run(order(3), ({ id }) => (terminal.pay(id), "unknown"), { id: "order-3" });
  console.log(`order-3: ${lost.decision}`);

  await all.promise;
  console.log(`billed: ${billed.toSorted().join(", ")}`);
  console.log(`checked: ${tally.counters()["half-checked"]}`);
}
rmSync(directory, { recursive: true });
