// A parked key: the head of an ordered key fails for good, what follows it waits in the inbox, other keys go on. A person puts
// right what was wrong and replays the key, in order.
//
//   node examples/parked-key.ts                              on the embedded broker
//   AMQP_URL=amqp://localhost node examples/parked-key.ts    on RabbitMQ
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTally } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { broker } from "./broker.ts";
import { orders } from "./orders.ts";

const directory = mkdtempSync(join(tmpdir(), "tally-example-"));
const expiredCards = new Set(["ada"]);

{
  await using tally = await openTally({
    service: "shop",
    broker: broker(),
    inbox: sqlite(join(directory, "inbox.db")),
  });
  const bobBilled = Promise.withResolvers<void>();
  const adaParked = Promise.withResolvers<void>();
  tally.on(() => {
    const { "key-parked": parked = 0, "parked-behind": behind = 0 } = tally.counters();
    if (parked === 1 && behind === 1) adaParked.resolve();
  });

  await using _billing = await tally
    .consumer("billing", { attempts: 2, retryMin: 1, retryMax: 10 })
    .on(orders, (order) => {
      if (expiredCards.has(order.customer)) throw new Error(`the card of ${order.customer} has expired`);
      console.log(`billed ${order.id} to ${order.customer}`);
      if (order.customer === "bob") bobBilled.resolve();
    })
    .start();

  for (const [n, customer] of ["ada", "ada", "bob"].entries()) {
    const order = { id: `order-${n + 1}`, customer, cents: 100 };
    await tally.publish(orders, order, { id: order.id });
  }
  await Promise.all([adaParked.promise, bobBilled.promise]);

  for (const key of await tally.parked.keys.list({ group: "billing" })) {
    const messages = await tally.parked.keys.messages(key);
    console.log(`parked: ${key.key}, ${messages.map(({ id }) => id).join(" before ")}`);
    console.log(`because: ${key.reason}`);
    expiredCards.delete(key.key);
    const ran = await tally.parked.keys.replay(key);
    console.log(`replayed: ${ran}`);
  }
}
rmSync(directory, { recursive: true });
