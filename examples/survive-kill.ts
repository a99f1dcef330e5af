// Survive kill -9: a service that publishes and bills orders is killed again and again in the middle of its work. Each time it
// is started anew, and does what it always does: publishes every order under its own id, and bills what comes. At the end
// each order has one bill.
//
//   node examples/survive-kill.ts                              on an embedded broker in a process of its own
//   AMQP_URL=amqp://localhost node examples/survive-kill.ts    on RabbitMQ
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { type Broker, openTally } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { sqlite } from "@tallymq/store-sqlite";
import { memory, startMemoryBroker } from "@tallymq/testkit";
import { orders } from "./orders.ts";

const ORDERS = 200;
/** Bills after which the service is killed: the last of its lives ends by itself. */
const KILLED_AT = [20, 80, 140];

const { AMQP_URL: url, SHOP_FOLDER: folder } = process.env;
if (folder === undefined) await watch();
else await serve(folder, url === undefined ? memory({ at: addressIn(folder) }) : rabbitmq({ urls: [url] }));

/** The service, in one of its lives. */
async function serve(folder: string, broker: Broker): Promise<void> {
  await using tally = await openTally({
    service: "shop",
    broker,
    outbox: sqlite(join(folder, "outbox.db")),
    inbox: sqlite(join(folder, "shop.db")),
  });
  await using _billing = await tally
    .consumer("billing", { effect: "tx", lease: "1s" }) // so long a killed life's claims keep the next one waiting
    .on(orders, async (order, { tx }) => {
      await tx.run("INSERT INTO bills VALUES (?, ?)", [order.id, order.cents]);
    })
    .start();
  await Promise.all(
    Array.from({ length: ORDERS }, (_, n) => {
      const order = { id: `order-${n}`, customer: `customer-${n % 20}`, cents: 100 + n };
      return tally.publish(orders, order, { id: order.id });
    }),
  );
  process.send?.("published");
  await once(process, "message"); // all is billed
  process.disconnect();
}

async function watch(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "tally-example-"));
  await using _broker =
    url === undefined
      ? await startMemoryBroker({ at: addressIn(directory), dataDir: join(directory, "broker") })
      : undefined;
  const database = new DatabaseSync(join(directory, "shop.db"), { timeout: 5_000 });
  database.exec("CREATE TABLE bills (order_id TEXT, cents INTEGER)");
  const bills = (): number => Number(database.prepare("SELECT count(*) AS n FROM bills").get()?.["n"]);
  const billed = async (n: number): Promise<void> => {
    while (bills() < n) await new Promise((resolve) => setTimeout(resolve, 5));
  };

  const live = () =>
    spawn(process.execPath, [fileURLToPath(import.meta.url)], {
      env: { ...process.env, SHOP_FOLDER: directory },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
  for (const n of KILLED_AT) {
    const service = live();
    await billed(n);
    service.kill("SIGKILL");
    await once(service, "exit");
  }
  const service = live();
  await once(service, "message");
  await billed(ORDERS);
  service.send("stop");
  await once(service, "exit");

  const twice = database.prepare(
    "SELECT count(*) AS n FROM (SELECT 1 FROM bills GROUP BY order_id HAVING count(*) > 1)",
  );
  console.log(
    `killed ${KILLED_AT.length} times; ${bills()} bills for ${ORDERS} orders; billed twice: ${String(twice.get()?.["n"])}`,
  );
  database.close();
  rmSync(directory, { recursive: true });
}

function addressIn(directory: string): string {
  return `unix:${join(directory, "broker.sock")}`;
}
