/** A consumer in a process with a small heap: what comes is larger, or nested deeper, than its topic takes. */
import { openTally, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { memoryInbox } from "@tallymq/testkit";

const orders = topic<unknown>("orders", { maxBytes: Number(process.env["MAX_BYTES"]) });
await using tally = await openTally({
  service: "shop",
  broker: rabbitmq({ urls: [process.env["URL"]!] }),
  inbox: memoryInbox(),
});
const last = Promise.withResolvers<unknown>();
await using _billing = await tally
  .consumer("billing", { lanes: 8 })
  .on(orders, (order) => Promise.resolve(last.resolve(order)))
  .start();
const order = await last.promise;
while ((tally.counters()["dead-lettered"] ?? 0) < Number(process.env["LETTERS"]))
  await new Promise((resolve) => setTimeout(resolve, 10));
console.log(JSON.stringify({ order, letters: tally.counters()["dead-lettered"] }));
