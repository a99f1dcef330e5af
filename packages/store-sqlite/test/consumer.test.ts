import { join } from "node:path";
import { openTally, topic } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { memory } from "@tallymq/testkit";
import { expect, it } from "vitest";
import { scratch, withFile } from "./rig.ts";

const orders = topic<{ n: number }>("orders", { groups: ["billing"] });
const directory = scratch();

it("`tx`: each message has its row once, whatever is published and delivered twice, over restarts", async () => {
  const file = join(directory, "tx.db");
  withFile(file, (sql) => sql.exec("CREATE TABLE bills (n INTEGER)"));
  const broker = memory();
  for (let restart = 0; restart < 2; restart++) {
    await using tally = await openTally({ service: "shop", broker, inbox: sqlite(file) });
    await using _billing = await tally
      .consumer("billing", { effect: "tx", lanes: 16, retryMin: 1, retryMax: 2 })
      .on(orders, async ({ n }, { tx, attempt }) => {
        await tx.run("INSERT INTO bills VALUES (?)", [n]);
        if (n % 9 === 0 && attempt === 1) throw new Error("after its row was written");
      })
      .start();
    await Promise.all(Array.from({ length: 100 }, (_, n) => tally.publish(orders, { n }, { id: `order-${n}` })));
    await broker.idle(AbortSignal.timeout(8_000));
    expect(tally.counters().duplicate ?? 0).toBe(restart * 100);
  }
  const rows = withFile(file, (sql) =>
    sql.prepare("SELECT count(*) AS all_of_them, count(DISTINCT n) AS different FROM bills").get(),
  );
  expect(rows).toMatchObject({ all_of_them: 100, different: 100 });
});

it("`marked`: what came twice runs once; what failed runs again and is marked then", async () => {
  const broker = memory();
  const ran: number[] = [];
  await using tally = await openTally({ service: "shop", broker, inbox: sqlite(join(directory, "marked.db")) });
  let fails = true;
  await using _billing = await tally
    .consumer("billing", { attempts: 1, retryMin: 1, retryMax: 2 })
    .on(orders, ({ n }) => {
      ran.push(n);
      if (fails) {
        fails = false;
        throw new Error("not now");
      }
    })
    .start();
  for (let times = 0; times < 3; times++) {
    await tally.publish(orders, { n: 1 }, { id: "order-1" });
    await broker.idle(AbortSignal.timeout(8_000));
  }
  expect(ran).toEqual([1, 1]);
  expect(tally.counters()).toMatchObject({ duplicate: 2, delayed: 1 });
});
