// A program: node half-process.ts DIRECTORY ORDER [POINT]: opens a tally on a broker of its own, with its outbox in DIRECTORY/outbox.db, and
// runs half message payment-1, whose work writes its row into DIRECTORY/shop.db. It kills itself with -9 at the failpoint POINT.
// ORDER is that of the topic, "ordered" or "plain". Without a point it waits until nothing is undecided and everything is sent, and writes what arrived, how often the work was done
// here and how often check was asked.
import { writeSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openTally, topic } from "@tallymq/core";
import { armFailpoints } from "@tallymq/core/spi";
import { sqlite } from "@tallymq/store-sqlite";
import { memory } from "@tallymq/testkit";

const [directory = "", order, point] = process.argv.slice(2);
const shop = new DatabaseSync(join(directory, "shop.db"));
shop.exec("CREATE TABLE IF NOT EXISTS payments (id TEXT)");
const paid = (id: string): boolean => shop.prepare("SELECT 1 AS one FROM payments WHERE id = ?").get(id) !== undefined;
const payments = topic<{ cents: number }>("payments", {
  groups: ["mail"],
  ...(order === "ordered" ? { ordered: true, key: () => "k" } : {}),
});
const counts = { mails: 0, works: 0, checks: 0 };
if (point !== undefined)
  armFailpoints((passed) => {
    if (passed === point) process.kill(process.pid, "SIGKILL");
  });

await using tally = await openTally({
  service: "shop",
  broker: memory(),
  outbox: sqlite(join(directory, "outbox.db")),
});
await using _mail = await tally
  .consumer("mail")
  .on(payments, () => void counts.mails++)
  .start();
const payment = tally.half("payment", {
  topic: payments,
  lease: "1s",
  check(_body, { id }) {
    counts.checks++;
    return paid(id) ? "commit" : "rollback";
  },
});
if (point !== undefined) {
  await payment.run(
    { cents: 100 },
    ({ id }) => {
      counts.works++;
      shop.prepare("INSERT INTO payments VALUES (?)").run(id);
      return "commit";
    },
    { id: "payment-1" },
  );
  throw new Error(`${point} was not passed`);
}
// Longer than a lease and a look: what is to come has come.
for (let waited = 0; waited < 8_000; waited += 100) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  if (waited >= 2_400 && (await payment.undecided()).length === 0) break;
}
writeSync(1, `${JSON.stringify({ ...counts, paid: paid("payment-1") })}\n`);
