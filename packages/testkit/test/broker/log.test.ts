import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Outgoing } from "@tallymq/core/spi";
import { memory, seededRandom, startMemoryBroker } from "@tallymq/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Published, Store, type StoreOptions } from "../../src/broker/process/store.ts";
import { readLog, type RecoveryReport } from "../../src/broker/log/recover.ts";
import { incoming } from "../../src/memory/traits.ts";
import { realClock } from "../../src/real.ts";
import { message, NEVER, open, ORDERS, sender, until } from "../support/harness.ts";

let dir: string;
let data: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "tally-"));
  data = join(dir, "data");
});
afterEach(() => rmSync(dir, { recursive: true }));

function openStore(given: Partial<StoreOptions> = {}): Store {
  const failed = (error: unknown): never => {
    throw error;
  };
  const base = {
    dataDir: data,
    clock: realClock,
    maxBacklog: Number.POSITIVE_INFINITY,
    deliveryLimit: Number.POSITIVE_INFINITY,
    failed,
  };
  return new Store({ ...base, ...given });
}
const toAll = (m: Outgoing): Published => ({ message: incoming(m), group: null, delayMs: 0 });
const publish = (store: Store, ...ids: string[]): Promise<readonly string[]> =>
  new Promise((resolve) =>
    store.publish(
      ids.map((id) => toAll(message(id, { body: new Uint8Array(40).fill(7) }))),
      resolve,
    ),
  );

/** A log with `ids`, each in a record of its own, and where each record begins. */
async function written(...ids: string[]): Promise<{ file: Buffer; begins: number[] }> {
  const store = openStore();
  await store.declare([ORDERS]);
  const begins: number[] = [];
  for (const id of ids) {
    begins.push(readFileSync(join(data, "messages.log")).length);
    await publish(store, id);
  }
  await store.close();
  const file = readFileSync(join(data, "messages.log"));
  return { file, begins: [...begins, file.length] };
}

function recovered(file: Buffer): {
  ids: (string | null)[];
  groups: string[];
  report: Pick<RecoveryReport, "tornBytes" | "damaged">;
} {
  const { state, ...report } = readLog(file);
  const ids = [...state.messages.values()].map((m) => m.message.id);
  return { ids, groups: [...state.topics].flatMap(([topic, t]) => t.groups.map((g) => `${topic}/${g.name}`)), report };
}

describe("the log", () => {
  it("torn at any byte of its last record, gives back everything before it", async () => {
    const { file, begins } = await written("m1", "m2", "m3");
    for (let end = begins[2]!; end < file.length; end++) {
      const { ids, report } = recovered(file.subarray(0, end));
      expect([end, ids]).toEqual([end, ["m1", "m2"]]);
      expect(report).toMatchObject({ tornBytes: end - begins[2]!, damaged: [] });
    }
    expect(recovered(file).ids).toEqual(["m1", "m2", "m3"]);
  });

  it("with any bit of a message's record flipped, keeps the messages before and after, and the damaged file", async () => {
    const { file, begins } = await written("m1", "m2", "m3");
    for (let at = begins[1]!; at < begins[2]!; at++) {
      const flipped = Buffer.from(file);
      flipped[at]! ^= 1 << (at % 8);
      const { ids, report } = recovered(flipped);
      expect([at, ids]).toEqual([at, ["m1", "m3"]]);
      expect(report.damaged).toEqual([{ from: begins[1], to: begins[2] }]);
    }
  });

  it("with a bit of its last record flipped, does not take it for a torn one", async () => {
    const { file, begins } = await written("m1", "m2");
    for (let at = begins[1]!; at < file.length; at++) {
      const flipped = Buffer.from(file);
      flipped[at]! ^= 0x10;
      const { ids, report } = recovered(flipped);
      expect([at, ids, report.damaged.length]).toEqual([at, ["m1"], 1]);
    }
  });

  it("with any bit before its first message flipped, still knows its groups and messages", async () => {
    const { file, begins } = await written("m1", "m2");
    for (let at = 0; at < begins[0]!; at++) {
      const flipped = Buffer.from(file);
      flipped[at]! ^= 1 << (at % 8);
      const { ids, groups, report } = recovered(flipped);
      expect([at, ids, groups]).toEqual([at, ["m1", "m2"], ["orders/billing"]]);
      expect(report.damaged.length).toBe(1);
    }
  });

  it("written anew at a start, still stands any one flipped bit", async () => {
    await written("m1", "m2");
    await openStore().close();
    const file = readFileSync(join(data, "messages.log"));
    for (let at = 0; at < file.length; at++) {
      const flipped = Buffer.from(file);
      flipped[at]! ^= 1 << (at % 8);
      const { ids, groups, report } = recovered(flipped);
      expect([at, groups, report.damaged.length, ids.length >= 1]).toEqual([at, ["orders/billing"], 1, true]);
    }
  });

  it("never takes a body that imitates a record for one", async () => {
    const forged = await written("forged");
    const record = forged.file.subarray(forged.begins[0]!);
    rmSync(data, { recursive: true });
    const store = openStore();
    await store.declare([ORDERS]);
    const begin = readFileSync(join(data, "messages.log")).length;
    await new Promise((resolve) => store.publish([toAll(message("carrier", { body: record }))], resolve));
    await publish(store, "after");
    await store.close();
    const file = readFileSync(join(data, "messages.log"));
    file[begin + 6]! ^= 0xff;
    expect(recovered(file).ids).toEqual(["after"]);
  });

  it("survives damage at random places among its messages without ever giving back what was not written", async () => {
    const ids = Array.from({ length: 30 }, (_, i) => `m${i}`);
    const { file, begins } = await written(...ids);
    const random = seededRandom(11);
    for (let round = 0; round < 150; round++) {
      const broken = Buffer.from(file);
      const from = begins[0]! + Math.floor(random.unit() * (file.length - begins[0]!));
      broken.set(random.bytes(Math.min(file.length - from, 1 + Math.floor(random.unit() * 300))), from);
      const { ids: got } = recovered(broken.subarray(0, file.length - Math.floor(random.unit() * 50)));
      expect(got.every((id) => ids.includes(id!))).toBe(true);
      // One stretch of 300 bytes and a cut of 50 touch no more than five records.
      expect(got.length).toBeGreaterThanOrEqual(ids.length - 5);
      expect(got).toEqual(got.toSorted((a, b) => ids.indexOf(a!) - ids.indexOf(b!)));
    }
  });

  it("confirms and delivers nothing before it is synced, and syncs once for all that came meanwhile", async () => {
    const syncs: (() => void)[] = [];
    const store = openStore({ sync: () => new Promise((resolve) => syncs.push(resolve)) });
    const declared = store.declare([ORDERS]);
    await until(() => syncs.length === 1);
    syncs[0]!();
    await declared;
    const delivered: (string | null)[] = [];
    const consumer = store.engine.subscribe("orders", "billing", 100, {
      deliver: (batch) => batch.forEach((out) => delivered.push(out.entry.message.id)),
      removed() {},
    });
    const confirmed: string[] = [];
    const send = (id: string): void => void publish(store, id).then(() => confirmed.push(id));
    send("m1");
    await until(() => syncs.length === 2);
    for (let i = 2; i <= 50; i++) send(`m${i}`);
    await new Promise((resolve) => setImmediate(resolve));
    expect([confirmed, delivered]).toEqual([[], []]);
    syncs[1]!();
    await until(() => syncs.length === 3);
    expect([confirmed, delivered]).toEqual([["m1"], ["m1"]]);
    syncs[2]!();
    await until(() => delivered.length === 50);
    expect([confirmed.length, syncs.length]).toEqual([50, 3]);
    // What was only settled is written, but waits for nobody's disk.
    for (const out of consumer.out) consumer.ack(out);
    await store.close();
    expect(syncs.length).toBe(3);
    expect(recovered(readFileSync(join(data, "messages.log"))).ids).toEqual([]);
  });

  it("that cannot be synced confirms nothing any more", async () => {
    const errors: unknown[] = [];
    let broken = false;
    const store = openStore({
      sync: () => (broken ? Promise.reject(new Error("EIO")) : Promise.resolve()),
      failed: (e) => errors.push(e),
    });
    await store.declare([ORDERS]);
    broken = true;
    const outcomes: unknown[] = [];
    void publish(store, "m1").then((o) => outcomes.push(o));
    await until(() => errors.length === 1);
    broken = false;
    void publish(store, "m2").then((o) => outcomes.push(o));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([outcomes, errors.length]).toEqual([[], 1]);
  });

  it("is written anew while it runs when most of it is settled, and loses nothing thereby", async () => {
    const store = openStore({ compactAbove: 20_000 });
    await store.declare([{ ...ORDERS, groups: ["billing", "audit"] }]);
    const take = (group: string, keep: (id: string) => boolean): void => {
      const consumer = store.engine.subscribe("orders", group, 1_000, {
        deliver: (batch) => batch.forEach((out) => !keep(out.entry.message.id!) && consumer.ack(out)),
        removed() {},
      });
    };
    take("billing", () => false);
    take("audit", (id) => id.endsWith("0"));
    let largest = 0;
    for (let i = 0; i < 60; i++) {
      await publish(store, ...Array.from({ length: 10 }, (_, k) => `m${i}-${k}`));
      largest = Math.max(largest, readFileSync(join(data, "messages.log")).length);
    }
    await store.close();
    expect(largest).toBeLessThan(60_000);
    const again = openStore();
    expect(again.engine.group("orders", "billing").backlog).toBe(0);
    const kept = again.engine
      .group("orders", "audit")
      .entries()
      .map((e) => e.entry.message.id);
    expect(kept).toEqual(Array.from({ length: 60 }, (_, i) => `m${i}-0`));
    expect(await publish(again, "next")).toEqual(["accepted"]);
    expect(again.engine.group("orders", "audit").entries().at(-1)?.entry.message.id).toBe("next");
    await again.close();
  });

  it("damaged, is surfaced by the process that starts on it, and kept aside", async () => {
    const { file, begins } = await written("m1", "m2", "m3");
    file[begins[1]! + 60]! ^= 4;
    writeFileSync(join(data, "messages.log"), file);
    copyFileSync(join(data, "messages.log"), join(dir, "copy"));
    const at = `unix:${join(dir, "s")}`;
    const broker = await startMemoryBroker({ at, dataDir: data });
    try {
      expect(broker.report).toMatchObject({
        messages: 2,
        damaged: [{ from: begins[1], to: begins[2] }],
        quarantine: join(data, "messages.log.damaged-1"),
      });
      await until(() => broker.stderr.includes("damaged-1"));
      expect(broker.stderr).toContain(`damaged from byte ${begins[1]} to ${begins[2]}`);
      expect(readFileSync(join(data, "messages.log.damaged-1")).equals(readFileSync(join(dir, "copy")))).toBe(true);
      expect((await broker.messages("orders", "billing")).map((q) => q.message.id)).toEqual(["m1", "m3"]);
      const s = await sender(open(memory({ at }), realClock));
      s.send(message("m4"));
      await until(() => s.seen.length === 1);
      await broker.kill();
      await broker.restart();
      expect((await broker.messages("orders", "billing")).map((q) => q.message.id)).toEqual(["m1", "m3", "m4"]);
      expect(broker.report.damaged).toEqual([]);
      expect(readdirSync(data).toSorted()).toEqual(["lock", "messages.log", "messages.log.damaged-1"]);
    } finally {
      await broker.kill();
    }
    expect(NEVER.aborted).toBe(false);
  });
});
