import { TallyError } from "@tallymq/core/spi";
import { turns } from "@tallymq/testkit";
import { ORDERS } from "@tallymq/testkit/port";
import { describe, expect, it } from "vitest";
import type { DriverAdmin } from "../src/driver/driver.ts";
import { FakeDriver, SIGNAL } from "./fake-driver.ts";

/** The next client that is opened, with some of its answers changed. */
async function changed(driver: FakeDriver, change: (admin: DriverAdmin) => Partial<DriverAdmin>): Promise<void> {
  const open = driver.admin.bind(driver);
  driver.admin = async () => {
    const admin = await open();
    return { ...admin, ...change(admin) };
  };
}

describe("the backlog of a group", () => {
  it("is what lies behind its commit, without what the commit says is done, and without what is gone", async () => {
    const driver = new FakeDriver();
    const { admin } = driver.transport();
    for (const name of ["orders", "orders.billing.copies"]) {
      driver.partitions.set(name, 2);
      for (const n of [0, 1]) driver.ranges.set(`${name}/${n}`, { partition: n, low: 0, high: 0 });
    }
    // 10 to 19, of which 11 and 13 are done.
    driver.ranges.set("orders/0", { partition: 0, low: 3, high: 20 });
    const metadata = `tally1:${Buffer.from([0b0000_1010]).toString("base64")}`;
    driver.committed.set("orders/0", { partition: 0, offset: 10, metadata });
    // Never committed: 5 to 8 are there.
    driver.ranges.set("orders/1", { partition: 1, low: 5, high: 9 });
    // Committed at 2, and 0 to 6 are gone.
    driver.ranges.set("orders.billing.copies/0", { partition: 0, low: 7, high: 9 });
    driver.committed.set("orders.billing.copies/0", { partition: 0, offset: 2, metadata: "" });
    expect(await admin.backlog("orders", "billing", SIGNAL)).toBe(8 + 4 + 2);
  });
});

describe("topics that have just been made", () => {
  it("are waited for until the broker that is asked has heard of them", async () => {
    const driver = new FakeDriver();
    let looks = 0;
    await changed(driver, (admin) => ({
      // The first look comes before anything is made.
      partitions: (topics) => (looks++ < 3 ? Promise.resolve(new Map()) : admin.partitions(topics)),
    }));
    const declaring = driver.transport().admin.declare([ORDERS], SIGNAL);
    for (let n = 0; n < 6; n++) {
      await turns();
      await driver.clock.advance(50);
    }
    await declaring;
    expect(looks).toBeGreaterThan(3);
  });

  it("and are gone again are made anew by the next try", async () => {
    const driver = new FakeDriver();
    const { admin } = driver.transport();
    await admin.declare([ORDERS], SIGNAL);
    driver.partitions.delete("orders");
    await expect(admin.declare([ORDERS], SIGNAL)).rejects.toMatchObject({ code: "topology", retryable: true });
    await admin.declare([ORDERS], SIGNAL);
    expect(driver.partitions.get("orders")).toBe(2);
  });
});

it("an admin client of which something failed is not used again, and is closed when the last call that it has is over", async () => {
  const driver = new FakeDriver();
  const slow = Promise.withResolvers<never>();
  await changed(driver, () => ({
    committed: () => Promise.reject(new Error("it believes in a broker that is gone")),
    members: () => slow.promise,
  }));
  const transport = driver.transport();
  const looking = transport.members.join("orders", "billing", "card", () => {}, SIGNAL);
  await turns();
  await expect(transport.admin.backlog("orders", "billing", SIGNAL)).rejects.toMatchObject({ code: "unreachable" });
  expect(driver.admins).toEqual({ opened: 1, closed: 0 });
  await transport.admin.declare([ORDERS], SIGNAL);
  expect(driver.admins).toEqual({ opened: 2, closed: 0 });
  slow.reject(new Error("no"));
  await expect(looking).rejects.toMatchObject({ code: "unreachable" });
  await turns();
  expect(driver.admins).toEqual({ opened: 2, closed: 1 });
  await transport[Symbol.asyncDispose]();
  expect(driver.admins.closed).toBe(2);
});

describe("an admin client that nobody waits for any longer is not used again", () => {
  const late = new TallyError("unreachable", "no session within 10000 ms", { retryable: true });

  it("one that never opens, for one: a password function that hangs", async () => {
    const driver = new FakeDriver();
    const open = driver.admin.bind(driver);
    const hung = Promise.withResolvers<DriverAdmin>();
    driver.admin = () => hung.promise;
    const { admin } = driver.transport();
    const gone = new AbortController();
    const declaring = admin.declare([ORDERS], gone.signal);
    gone.abort(late);
    await expect(declaring).rejects.toBe(late);
    driver.admin = open;
    await admin.declare([ORDERS], SIGNAL);
    // And should it open after all, it is closed.
    hung.resolve(await open());
    await turns();
    expect(driver.admins).toEqual({ opened: 2, closed: 1 });
  });

  it("one that does not answer, over a connection that is half open", async () => {
    const driver = new FakeDriver();
    const open = driver.admin.bind(driver);
    await changed(driver, () => ({ partitions: () => new Promise(() => {}) }));
    const { admin } = driver.transport();
    const gone = new AbortController();
    const declaring = admin.declare([ORDERS], gone.signal);
    await turns();
    gone.abort(late);
    await expect(declaring).rejects.toBe(late);
    driver.admin = open;
    await admin.declare([ORDERS], SIGNAL);
    expect(driver.admins).toEqual({ opened: 2, closed: 1 });
  });
});
