import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTally, type Tally, type TallyOptions, type Topic, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { sqlite } from "@tallymq/store-sqlite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RabbitNode, startRabbit } from "../brokers/index.ts";
import { type SharedRabbit, sharedRabbit } from "../brokers/vitest/shared.ts";

let eu: SharedRabbit;
let us: SharedRabbit;
/** Another broker, which may be killed. */
let other: RabbitNode;
let folder: string;
let names = 0;

beforeAll(async () => {
  [eu, us, other] = await Promise.all([sharedRabbit(), sharedRabbit(), startRabbit()]);
  folder = mkdtempSync(join(tmpdir(), "tally-several-"));
});
afterAll(async () => {
  await Promise.all([eu.stop(), us.stop(), other.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

interface Order {
  readonly from: string;
}
const fresh = (): Topic<Order> => topic<Order>(`orders-${++names}`, { groups: ["billing"] });

async function open(name: string, url: string, options: Partial<TallyOptions> = {}): Promise<Tally> {
  return await openTally({
    service: "shop",
    broker: rabbitmq({ urls: [url], name }),
    reconnect: { max: "300ms" },
    ...options,
  });
}

/** Starts `billing`; gives what it gets, as it comes. */
async function consume(tally: Tally, orders: Topic<Order>): Promise<string[]> {
  const got: string[] = [];
  await tally
    .consumer("billing")
    .on(orders, ({ from }, { id }) => Promise.resolve(void got.push(`${from} ${id}`)))
    .start();
  return got;
}

describe("several virtual hosts, one program", () => {
  it("the same topic, group and ids in two of them do not mix", async () => {
    const orders = fresh();
    await using one = await open("eu", eu.url);
    await using two = await open("us", us.url);
    const [inEu, inUs] = [await consume(one, orders), await consume(two, orders)];
    const ids = Array.from({ length: 50 }, (_, i) => `o-${i}`);
    await Promise.all(
      ids.flatMap((id) => [one.publish(orders, { from: "eu" }, { id }), two.publish(orders, { from: "us" }, { id })]),
    );
    await expect.poll(() => [inEu.length, inUs.length]).toEqual([50, 50]);
    expect(inEu.toSorted()).toEqual(ids.map((id) => `eu ${id}`).toSorted());
    expect(inUs.toSorted()).toEqual(ids.map((id) => `us ${id}`).toSorted());
    // Each is counted by itself, too.
    expect(one.counters()["session-opened"]).toBe(2);
  });

  it("one that is deleted live takes nothing from the other", async () => {
    const orders = fresh();
    await using doomed = await sharedRabbit();
    await using one = await open("eu", eu.url);
    await using two = await open("doomed", doomed.url);
    const [inEu] = [await consume(one, orders), await consume(two, orders)];
    await doomed.admin.deleteVhost(doomed.vhost);
    await expect.poll(() => two.counters()["session-lost"] ?? 0).toBeGreaterThan(1);
    await one.publish(orders, { from: "eu" }, { id: "o-1" });
    await expect.poll(() => inEu).toEqual(["eu o-1"]);
    expect(one.counters()["session-lost"]).toBeUndefined();
    await doomed.admin.addVhost(doomed.vhost);
    await two.publish(orders, { from: "again" }, { id: "o-2", deadline: "30s" });
  });
});

describe("several brokers, one program", () => {
  it("a dead one does not disturb the other", async () => {
    const orders = fresh();
    await using alive = await open("alive", eu.url);
    await using dying = await open("dying", other.url);
    const [got, gotOfDying] = [await consume(alive, orders), await consume(dying, orders)];
    await other.admin.flushDeclares();
    await other.kill();
    const waits = dying.publish(orders, { from: "dying" }, { id: "d-1", deadline: "90s" });
    for (let i = 0; i < 200; i++) await alive.publish(orders, { from: "alive" }, { id: `a-${i}` });
    await expect.poll(() => got.length).toBe(200);
    expect(alive.counters()).not.toHaveProperty("session-lost");
    expect(alive.counters()).not.toHaveProperty("resend");
    expect((await alive.health()).status).toBe("ok");
    await other.start();
    await waits;
    await expect.poll(() => gotOfDying).toEqual(["dying d-1"]);
    expect(got).toHaveLength(200);
  });

  it("on one outbox file: the rows of one are never sent to the other, whoever is up", async () => {
    const orders = fresh();
    const outbox = (): ReturnType<typeof sqlite> => sqlite(join(folder, "outbox.db"));
    const always = topic<Order>(orders.name, { groups: ["billing"], outbox: "always" });
    await using down = await open("down", "amqp://127.0.0.1:1", { outbox: outbox() });
    await using up = await open("up", eu.url, { outbox: outbox() });
    const inEu = await consume(up, orders);
    for (let i = 0; i < 20; i++) {
      expect(await down.publish(always, { from: "down" }, { id: `o-${i}` })).toMatchObject({ state: "stored" });
      await up.publish(always, { from: "up" }, { id: `o-${i}` });
    }
    await expect.poll(() => inEu.length).toBe(20);
    await down.close();
    // The other broker is there now, under that name: its rows go there, all of them, and nothing else.
    await using back = await open("down", us.url, { outbox: outbox(), topics: [always] });
    const inUs = await consume(back, orders);
    await expect.poll(() => inUs.length).toBe(20);
    const ids = Array.from({ length: 20 }, (_, i) => i);
    expect(inUs.toSorted()).toEqual(ids.map((i) => `down o-${i}`).toSorted());
    expect(inEu.toSorted()).toEqual(ids.map((i) => `up o-${i}`).toSorted());
    await Promise.all([up.close(), back.close()]);
  });
});
