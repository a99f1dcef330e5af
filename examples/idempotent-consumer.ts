// Idempotent consumer: a message that comes twice has one effect. The row, the mark that it was written, and the message that
// says so are one transaction of the database that holds the rows.
//
//   node examples/idempotent-consumer.ts                              on the embedded broker
//   AMQP_URL=amqp://localhost node examples/idempotent-consumer.ts    on RabbitMQ
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { deadLetter, openTally, retry, topic } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { broker } from "./broker.ts";
import { orders } from "./orders.ts";

const bills = topic<string>("bills", { groups: ["mail"] });
const directory = mkdtempSync(join(tmpdir(), "tally-example-"));
const file = join(directory, "shop.db");
const database = new DatabaseSync(file);
database.exec("CREATE TABLE bills (order_id TEXT, cents INTEGER)");

{
  await using tally = await openTally({ service: "shop", broker: broker(), inbox: sqlite(file) });
  const allEnded = Promise.withResolvers<void>();
  tally.on(() => {
    const { duplicate = 0, "dead-lettered": dead = 0 } = tally.counters();
    if (duplicate === 2 && dead === 2) allEnded.resolve();
  });

  const mails = new Set<string>();
  const allMailed = Promise.withResolvers<void>();
  await using _mail = await tally
    .consumer("mail")
    .on(bills, (orderId) => {
      mails.add(orderId);
      if (mails.size === 2) allMailed.resolve();
    })
    .start();

  await using _billing = await tally
    .consumer("billing", {
      effect: "tx",
      onError: (_error, { attempt }) => (attempt < 3 ? retry({ after: 10 }) : deadLetter("the card was declined")),
    })
    .on(orders, async (order, { tx, attempt }) => {
      await tx.run("INSERT INTO bills VALUES (?, ?)", [order.id, order.cents]);
      await tally.publish(bills, order.id, { id: `bill-${order.id}`, tx }); // sent if, and only if, this commits
      // Undone with its row and its message, both times.
      if (order.id === "order-1" && attempt === 1) throw new Error("the card terminal did not answer");
      if (order.id === "order-3") throw new Error("declined");
    })
    .start();

  // A publisher that was killed and started again does not know what had been accepted: it publishes all of it once more.
  for (let start = 1; start <= 2; start++) {
    for (const n of [1, 2, 3]) {
      const order = { id: `order-${n}`, customer: "ada", cents: n * 100 };
      await tally.publish(orders, order, { id: order.id });
    }
  }
  await Promise.all([allEnded.promise, allMailed.promise]);
  console.log(`acked without running: ${tally.counters().duplicate}`);
  console.log(`mailed: ${[...mails].toSorted().join(", ")}`);
}

for (const row of database.prepare("SELECT order_id, count(*) AS times FROM bills GROUP BY order_id").all())
  console.log(`${String(row["order_id"])}: ${String(row["times"])} bill`);
database.close();
rmSync(directory, { recursive: true });
