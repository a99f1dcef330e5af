// Outbox: what is published while the broker is down is stored on this machine's disk, and sent when it is back.
//
//   node examples/outbox.ts        on an embedded broker in a process of its own, which is killed and started again
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTally } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { memory, startMemoryBroker } from "@tallymq/testkit";
import { orders } from "./orders.ts";

const directory = mkdtempSync(join(tmpdir(), "tally-example-"));
const at = `unix:${join(directory, "broker.sock")}`;

{
  await using broker = await startMemoryBroker({ at, dataDir: join(directory, "broker") });
  await using tally = await openTally({
    service: "shop",
    broker: memory({ at }),
    outbox: sqlite(join(directory, "outbox.db")),
    spill: { after: "200ms" }, // patience with a broker that is away
    inbox: sqlite(join(directory, "inbox.db")), // a kill makes duplicates: each order is billed once
  });
  const billed: string[] = [];
  const all = Promise.withResolvers<void>();
  await using _billing = await tally
    .consumer("billing")
    .on(orders, (order) => {
      billed.push(order.id);
      if (billed.length === 4) all.resolve();
    })
    .start();

  const publish = async (n: number): Promise<string> => {
    const id = `order-${n}`;
    const { state } = await tally.publish(orders, { id, customer: "ada", cents: n * 100 }, { id });
    return `${id} is ${state}`;
  };
  console.log(await publish(1));
  await broker.kill();
  console.log(await publish(2));
  console.log(await publish(3));
  await broker.restart();
  await publish(4); // behind the stored ones of its key, whichever way it takes
  await all.promise;
  console.log(`billed in order: ${billed.join(", ")}`);
}
rmSync(directory, { recursive: true });
