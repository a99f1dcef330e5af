import { join } from "node:path";
import { openTally, type Tally, topic } from "@tallymq/core";
import { sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import { memory } from "@tallymq/testkit";
import { expect, it, vi } from "vitest";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
interface Order {
  readonly n: number;
  readonly customer: string;
}
const orders = topic<Order>("orders", { key: (o) => o.customer, ordered: true, groups: ["billing"] });
const directory = scratch();
const ADA = { group: "billing", topic: "orders", key: "ada" };

const billing = (tally: Tally<SqliteTx>, works: () => boolean) =>
  tally
    .consumer("billing", { effect: "tx", attempts: 2, retryMin: 1, retryMax: 2 })
    .on(orders, async ({ n, customer }, { tx }) => {
      await tx.run("INSERT INTO bills (customer, n) VALUES (?, ?)", [customer, n]);
      if (customer === "ada" && !works()) throw new Error("declined");
    })
    .start();

it("a parked key outlives its process; the next one parks behind it, runs other keys, and replays in order", async () => {
  const file = join(directory, "parked.db");
  const bills = (customer: string): unknown[] =>
    withFile(file, (sql) =>
      sql
        .prepare("SELECT n FROM bills WHERE customer = ? ORDER BY place")
        .all(customer)
        .map((row) => row["n"]),
    );
  withFile(file, (sql) => sql.exec("CREATE TABLE bills (place INTEGER PRIMARY KEY, customer TEXT, n INTEGER)"));
  const broker = memory();
  const headers = { trace: "t", "name with spaces": "ü" };
  {
    await using tally = await openTally({ service: "shop", broker, inbox: sqlite(file) });
    await using _consumer = await billing(tally, () => false);
    for (let n = 0; n < 3; n++) await tally.publish(orders, { n, customer: "ada" }, { id: `ada-${n}`, headers });
    await broker.idle(AbortSignal.timeout(8_000));
    expect(tally.counters()).toMatchObject({ "key-parked": 1, "parked-behind": 2 });
  }
  await using tally = await openTally({ service: "shop", broker, inbox: sqlite(file) });
  let works = false;
  await using _consumer = await billing(tally, () => works);
  for (let n = 3; n < 6; n++) await tally.publish(orders, { n, customer: "ada" }, { id: `ada-${n}` });
  for (let n = 0; n < 3; n++) await tally.publish(orders, { n, customer: "bob" }, { id: `bob-${n}` });
  await broker.idle(AbortSignal.timeout(8_000));
  expect([bills("ada"), bills("bob")]).toEqual([[], [0, 1, 2]]);

  const [key] = await tally.parked.keys.list();
  expect(key).toMatchObject({ ...ADA, messages: 6, reason: expect.stringMatching(/declined/) });
  const messages = await tally.parked.keys.messages({ ...ADA, decode: orders });
  expect(messages.map(({ id, decoded }) => [id, decoded])).toEqual(
    Array.from({ length: 6 }, (_, n) => [`ada-${n}`, { n, customer: "ada" }]),
  );
  expect({ ...messages[0]!.headers }).toEqual(headers);

  await expect(tally.parked.keys.replay(key!)).rejects.toMatchObject({ code: "handler", id: "ada-0" });
  works = true;
  expect(await tally.parked.keys.purge({ ...ADA, place: messages[1]!.place })).toBe(1);
  // Published again meanwhile: the purged one, one that waits, and a new one.
  for (const n of [1, 2, 6])
    await tally.publish(orders, { n, customer: "ada" }, { id: `ada-${n}`, ...(n === 2 ? { headers } : {}) });
  await broker.idle(AbortSignal.timeout(8_000));
  expect(await tally.parked.keys.replay(ADA)).toBe(6);
  expect(bills("ada")).toEqual([0, 2, 3, 4, 5, 6]);
  expect(await tally.parked.keys.list()).toEqual([]);
  await tally.publish(orders, { n: 7, customer: "ada" });
  await broker.idle(AbortSignal.timeout(8_000));
  expect(bills("ada")).toEqual([0, 2, 3, 4, 5, 6, 7]);
});

it("two processes on one file replay one key at once: each message has one effect, in order", async () => {
  const file = join(directory, "two.db");
  withFile(file, (sql) => sql.exec("CREATE TABLE bills (place INTEGER PRIMARY KEY, customer TEXT, n INTEGER)"));
  const broker = memory();
  await using one = await openTally({ service: "shop", broker, inbox: sqlite(file) });
  await using two = await openTally({ service: "shop", broker, inbox: sqlite(file) });
  let works = false;
  await using _one = await billing(one, () => works);
  await using _two = await billing(two, () => works);
  for (let n = 0; n < 20; n++) await one.publish(orders, { n, customer: "ada" });
  await broker.idle(AbortSignal.timeout(8_000));
  works = true;
  const replays = await Promise.allSettled([one.parked.keys.replay(ADA), two.parked.keys.replay(ADA)]);
  expect(replays.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
  const rows = withFile(file, (sql) => sql.prepare("SELECT n FROM bills ORDER BY place").all());
  expect(rows.map((row) => row["n"])).toEqual(Array.from({ length: 20 }, (_, n) => n));
  expect(await one.parked.keys.list()).toEqual([]);
});
