// Dead letters: what a handler gives up is kept with the reason, looked at, and replayed to that group when it can be done.
//
//   node examples/dead-letters.ts                              on the embedded broker
//   AMQP_URL=amqp://localhost node examples/dead-letters.ts    on RabbitMQ
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deadLetter, openTally, retry } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { broker } from "./broker.ts";
import { orders } from "./orders.ts";

const directory = mkdtempSync(join(tmpdir(), "tally-example-"));
const billed: string[] = [];
const bothBilled = Promise.withResolvers<void>();
let terminal: "broken" | "working" = "broken";

{
  await using tally = await openTally({
    service: "shop",
    broker: broker(),
    inbox: sqlite(join(directory, "inbox.db")),
  });
  const allDead = Promise.withResolvers<void>();
  tally.on(() => tally.counters()["dead-lettered"] === 3 && allDead.resolve());

  await using _billing = await tally
    .consumer("billing", {
      onError: (error, { attempt }) =>
        attempt < 2 ? retry({ after: 10 }) : deadLetter((error.cause as Error).message),
    })
    .on(orders, (order) => {
      if (order.cents > 100_000) throw new Error("over the limit");
      if (terminal === "broken") throw new Error("the card terminal does not answer");
      billed.push(order.id);
      if (billed.length === 2) bothBilled.resolve();
    })
    .start();

  for (const [n, cents] of [1999, 250_000, 500].entries()) {
    const order = { id: `order-${n + 1}`, customer: "ada", cents };
    await tally.publish(orders, order, { id: order.id });
  }
  await allDead.promise;

  const letters = tally.deadLetters(orders, "billing");
  for (const { id, reason, attempts } of await letters.list())
    console.log(`${id}: ${reason} (deliveries: ${attempts})`);

  terminal = "working";
  const where = ({ reason }: { readonly reason: string }): boolean => reason.includes("terminal");
  const dry = await letters.replay({ where, dryRun: true });
  console.log(`would replay ${dry.matched} of ${dry.left}`);
  const { replayed, left } = await letters.replay({ where, perSecond: 100 });
  console.log(`replayed ${replayed}, ${left} left`);
  await bothBilled.promise;
  console.log(`billed in order: ${billed.join(", ")}`);

  const { purged } = await letters.purge({ where: (letter) => (letter.decode() as { cents: number }).cents > 100_000 });
  console.log(`thrown away: ${purged}`);
}
rmSync(directory, { recursive: true });
