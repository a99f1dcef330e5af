// A program: node tx-publish-process.ts PATH [put|committed]: bills order-1 in a transaction of PATH that also publishes an event, on a
// broker of its own. It kills itself with -9 when the event is put, or when it is committed and nothing has been sent; without a
// word it goes on until the event has come, and writes how often that was. The order is published anew each time, as by a
// publisher that does not know what had been accepted.
import { writeSync } from "node:fs";
import { openTally, topic } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { memory } from "@tallymq/testkit";

const [path = "", crashAt] = process.argv.slice(2);
const orders = topic<{ n: number }>("orders", { groups: ["billing"] });
const events = topic<{ billed: number }>("events", { groups: ["mail"] });
const broker = memory();
let mails = 0;

await using tally = await openTally({
  service: "shop",
  broker,
  inbox: sqlite(path),
  onEvent(event) {
    // Called in the same turn as the commit's answer: the relay has not been told yet.
    if (event.type === "tx-published" && crashAt === "committed") die();
  },
});
await using _mail = await tally
  .consumer("mail", { effect: "none" })
  .on(events, () => void mails++)
  .start();
await using _billing = await tally
  .consumer("billing", { effect: "tx", lease: "1s" })
  .on(orders, async ({ n }, { tx }) => {
    await tx.run("INSERT INTO bills VALUES (?)", [n]);
    await tally.publish(events, { billed: n }, { id: `billed-${n}`, tx });
    if (crashAt === "put") die();
  })
  .start();
await tally.publish(orders, { n: 1 }, { id: "order-1" });
for (let waited = 0; mails === 0 && waited < 200; waited++) await new Promise((resolve) => setTimeout(resolve, 50));
await broker.idle();
writeSync(1, `mails ${mails}\n`);

function die(): void {
  process.kill(process.pid, "SIGKILL");
}
