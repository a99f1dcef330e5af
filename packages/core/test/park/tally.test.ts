import { memory, memoryInbox, memoryOutbox } from "@tallymq/testkit";
import { describe, expect, test } from "vitest";
import { openTally, topic } from "../../src/index.ts";

interface Order {
  readonly n: number;
  readonly customer: string;
}
const orders = topic<Order>("orders", { key: (o) => o.customer, ordered: true, groups: ["billing"] });

describe("parked keys, on the embedded broker", () => {
  test.each([10, 20])("rule 16: prefetch 10 and %i messages of a parked key do not stop other keys", async (count) => {
    const broker = memory();
    await using tally = await openTally({ service: "shop", broker, inbox: memoryInbox() });
    const ran: string[] = [];
    let bad = true;
    await using _billing = await tally
      .consumer("billing", { lanes: 4, credit: 8, attempts: 1, retryMin: 1, retryMax: 1 })
      .on(orders, ({ n, customer }) => {
        ran.push(`${customer}${n}`);
        if (customer === "ada" && bad) throw new Error("declined");
      })
      .start();
    for (let n = 0; n < count; n++) await tally.publish(orders, { n, customer: "ada" });
    for (let n = 0; n < 5; n++) await tally.publish(orders, { n, customer: "bob" });
    await broker.idle(AbortSignal.timeout(8_000));
    expect(ran).toEqual(["ada0", "bob0", "bob1", "bob2", "bob3", "bob4"]);
    const [key] = await tally.parked.keys.list();
    expect(key).toMatchObject({ group: "billing", topic: "orders", key: "ada", messages: count });

    bad = false;
    ran.length = 0;
    expect(await tally.parked.keys.replay(key!)).toBe(count);
    expect(ran).toEqual(Array.from({ length: count }, (_, n) => `ada${n}`));
    expect(await tally.parked.keys.list()).toEqual([]);
    expect(tally.counters()).toMatchObject({ "key-parked": 1, "parked-behind": count - 1, "key-replayed": 1 });
  });

  test("a member of the group with another inbox would run past what is parked here: the key is blocked instead", async () => {
    const broker = memory();
    const inboxes = [memoryInbox(), memoryInbox()];
    const ran: string[] = [];
    const surfaced: string[] = [];
    let works = false;
    const tallies = await Promise.all(
      inboxes.map(async (inbox) => {
        const tally = await openTally({ service: "shop", broker, inbox });
        tally.on((event) => event.type === "surfaced" && surfaced.push(event.text));
        await tally
          .consumer("billing", { attempts: 1, retryMin: 1, retryMax: 10 })
          .on(orders, ({ n, customer }) => {
            ran.push(`${customer}${n}`);
            if (customer === "ada" && !works) throw new Error("declined");
          })
          .start();
        return tally;
      }),
    );
    await expect.poll(() => tallies.map((tally) => tally.counters()["inbox-differs"])).toEqual([1, 1]);
    for (const [n, customer] of ["ada", "ada", "bob"].entries()) await tallies[0]!.publish(orders, { n, customer });
    await expect.poll(() => ran.filter((each) => each === "ada0").length > 3 && ran.includes("bob2")).toBe(true);
    expect(ran).not.toContain("ada1");
    expect(inboxes.flatMap(({ parked }) => parked)).toEqual([]);
    expect(surfaced.filter((text) => /key "ada" is blocked/.test(text))).toHaveLength(1);
    works = true;
    await broker.idle(AbortSignal.timeout(8_000));
    expect(ran.at(-1)).toBe("ada1");
    for (const tally of tallies) await tally.close();
  });

  test("without an inbox the functions are unsupported, without an outbox those for rows", async () => {
    const tally = await openTally({ service: "shop", broker: memory() });
    const { keys, rows } = tally.parked;
    const name = { group: "billing", topic: "orders", key: "ada" };
    const row = { store: "outbox", place: 1 } as const;
    for (const call of [
      () => keys.list(),
      () => keys.messages(name),
      () => keys.replay(name),
      () => keys.purge(name),
      () => rows.list(),
      () => rows.replay(row),
      () => rows.purge(row),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: "unsupported" });
    }
    await tally.close();
    await expect(keys.list()).rejects.toMatchObject({ code: "closed" });
  });
});

describe("parked rows of the outbox", () => {
  /** Nobody has declared a group: there is nowhere to go. */
  const lost = topic<Order>("lost", { key: (o) => o.customer, ordered: true, outbox: "always" });

  test("are listed with why, and a replayed one is sent once its topic has a group; its key goes on behind it", async () => {
    const broker = memory();
    const outbox = memoryOutbox();
    await using tally = await openTally({ service: "shop", broker, outbox });
    await tally.publish(lost, { n: 1, customer: "ada" }, { id: "o-1", headers: { trace: "t" } });
    await expect.poll(() => tally.counters().parked).toBe(1);
    await tally.publish(lost, { n: 2, customer: "ada" }, { id: "o-2" });
    const [row, ...others] = await tally.parked.rows.list();
    expect(others).toEqual([]);
    expect(row).toMatchObject({
      store: "outbox",
      topic: "lost",
      id: "o-1",
      key: "ada",
      code: "unroutable",
      headers: { trace: "t" },
    });
    expect(JSON.parse(new TextDecoder().decode(row!.body))).toEqual({ n: 1, customer: "ada" });

    const ran: number[] = [];
    await using _late = await tally
      .consumer("late")
      .on(lost, ({ n }) => void ran.push(n))
      .start();
    expect(await tally.parked.rows.replay(row!)).toBe(true);
    await expect.poll(() => ran).toEqual([1, 2]);
    expect(await tally.parked.rows.replay(row!)).toBe(false);
    expect(tally.counters()["row-replayed"]).toBe(1);
  });

  test("purged: what waits behind it goes on, and its key is sent directly again", async () => {
    const broker = memory();
    const outbox = memoryOutbox();
    const plain = topic<Order>("lost", { key: (o) => o.customer, ordered: true });
    await using tally = await openTally({ service: "shop", broker, outbox });
    await tally.publish(lost, { n: 1, customer: "ada" }, { id: "o-1" });
    await expect.poll(() => tally.counters().parked).toBe(1);
    const ran: number[] = [];
    await using _late = await tally
      .consumer("late")
      .on(lost, ({ n }) => void ran.push(n))
      .start();
    expect((await tally.publish(plain, { n: 2, customer: "ada" })).state).toBe("stored");
    const [row] = await tally.parked.rows.list();
    expect(await tally.parked.rows.purge(row!)).toBe(true);
    await expect.poll(() => ran).toEqual([2]);
    await expect.poll(async () => (await tally.publish(plain, { n: 3, customer: "ada" })).state).toBe("confirmed");
    expect(tally.counters()["row-purged"]).toBe(1);
    expect(await tally.parked.rows.purge(row!)).toBe(false);
  });

  test("are named by store and place", async () => {
    await using tally = await openTally({ service: "shop", broker: memory(), outbox: memoryOutbox() });
    for (const row of [
      undefined,
      {},
      { store: "outbox" },
      { store: "inbox", place: 1 },
      { store: "outbox", place: "1" },
    ])
      await expect(tally.parked.rows.replay(row as never)).rejects.toMatchObject({ code: "bad-config" });
  });
});
