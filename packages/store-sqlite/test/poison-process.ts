// A program: node poison-process.ts BROKER INBOX: consumes `orders`, says each start on stdout, and kills itself with -9 in the
// handler of the message `poison`. Three starts are the most.
import { writeSync } from "node:fs";
import { openTally, topic } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { memory } from "@tallymq/testkit";

const [at = "", inbox = ""] = process.argv.slice(2);
const tally = await openTally({ service: "shop", broker: memory({ at }), inbox: sqlite(inbox) });
await tally
  .consumer("billing", { lanes: 1, lease: "1s", maxAttempts: 3 })
  .on(topic<string>("orders", { groups: ["billing"] }), (_body, { id }) => {
    writeSync(1, `start ${id}\n`);
    if (id === "poison") process.kill(process.pid, "SIGKILL");
  })
  .start();
tally.on((event) => {
  if (event.type === "dead-lettered") writeSync(1, `dead ${event.id}: ${event.reason}\n`);
});
writeSync(1, "open\n");
