// First consumer: handlers that act, then settle. Returning is the ack; throwing is another attempt.
//
//   node examples/first-consumer.ts                                   on the embedded broker
//   AMQP_URL=amqp://localhost node examples/first-consumer.ts         on RabbitMQ
import { openTally } from "@tallymq/core";
import { broker } from "./broker.ts";
import { orders } from "./orders.ts";

await using tally = await openTally({ service: "shop", broker: broker() });

const billed: string[] = [];
const allBilled = Promise.withResolvers<void>();

await using _billing = await tally
  .consumer("billing", { lanes: 8, attempts: 3, retryMin: "10ms" })
  .on(orders, async (order, { attempt, signal }) => {
    signal.throwIfAborted();
    if (order.id === "order-2" && attempt === 1) throw new Error("the card terminal did not answer");
    billed.push(`${order.id} for ${order.customer} at attempt ${attempt}`);
    if (billed.length === 3) allBilled.resolve();
  })
  .start();

await tally.publishMany(
  orders,
  [1, 2, 3].map((n) => ({ id: `order-${n}`, body: { id: `order-${n}`, customer: "ada", cents: n * 100 } })),
);
await allBilled.promise;
// One key: in the order of publishing, although order-2 needed two attempts.
for (const line of billed) console.log(line);
