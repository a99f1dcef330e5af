// Existing queue of someone else: consumed and published to as it is; Tally declares and changes nothing.
//
//   AMQP_URL=amqp://localhost QUEUE=invoices node examples/existing-queue.ts
import { openTally, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { z } from "zod";

const { AMQP_URL: url, QUEUE: queue } = process.env;
if (url === undefined || queue === undefined)
  throw new Error("AMQP_URL and QUEUE must name a broker and a queue that is there");

const Invoice = z.object({ number: z.string(), cents: z.number() });
const invoices = topic("invoices", { schema: Invoice });

await using tally = await openTally({
  service: "archive",
  broker: rabbitmq({ urls: [url], topics: { invoices: { queue, declare: false } } }),
});

const first = Promise.withResolvers<void>();
const archive = await tally
  // The sender's library writes no message id: the invoice number in its header is one.
  .consumer("archive", { id: ({ headers }) => headers["invoice-number"] ?? "" })
  .on(invoices, (invoice, { id }) => {
    console.log(`archived ${invoice.number} (id ${id}): ${invoice.cents} cents`);
    first.resolve();
  })
  .start();
await first.promise;
await archive.close();

// What is published goes where the other side looks, as plain JSON with AMQP's own properties.
const receipt = await tally.publish(
  invoices,
  { number: "I-2", cents: 250 },
  { id: "I-2", headers: { "invoice-number": "I-2" } },
);
console.log(`answered with ${receipt.id}: ${receipt.state}`);
