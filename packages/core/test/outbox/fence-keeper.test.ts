// The fence beside its store: what comes and goes while a reading is under way, and when it is read again.
import { virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { FenceKeeper } from "../../src/outbox/fence-keeper.ts";
import type { Runtime } from "../../src/runtime.ts";
import { FENCE_SLOTS, type OutboxStore, type Row } from "../../src/stores.ts";

const RUN = "0".repeat(32);
const row = (slot: number): Row => ({ slot, message: { run: RUN } }) as Row;

const theirs = (slot: number): Row => ({ slot, message: { run: "1".repeat(32) } }) as Row;

/** A keeper whose store answers when the test says so, with what was in it at the question. */
function rig() {
  const clock = virtualClock();
  const stored = new Uint32Array(FENCE_SLOTS);
  const answers: (() => void)[] = [];
  const is = { relaying: true, moving: false, read: 0 };
  const keeper = new FenceKeeper({
    runtime: { clock, run: RUN, events: { emit() {} } } as unknown as Runtime,
    store: {
      busySlots() {
        const counts = Uint32Array.from(stored);
        return new Promise((resolve) => answers.push(() => resolve(counts)));
      },
    } as unknown as OutboxStore,
    relays: () => is.relaying,
    moves: () => is.moving,
    read: () => void is.read++,
  });
  const settle = async (): Promise<void> => {
    for (let n = 0; n < 10; n++) await clock.advance(0);
  };
  return {
    ...{ clock, keeper, stored, is, settle },
    /** Questions that wait for their answers. */
    asked: () => answers.length,
    async answer() {
      answers.shift()?.();
      await settle();
    },
    async pass(seconds: number) {
      for (let n = 0; n < seconds; n++) {
        await clock.advance(1_000);
        await settle();
      }
    },
  };
}

async function known(): Promise<ReturnType<typeof rig>> {
  const r = rig();
  void r.keeper.start();
  await r.settle();
  await r.answer();
  return r;
}

describe("while a reading is under way", () => {
  it("a row that is stored meanwhile, and that it has missed, keeps its fence; the next reading has it", async () => {
    const r = await known();
    void r.keeper.refill();
    await r.settle();
    const token = {};
    r.keeper.reserve(token, 5);
    r.keeper.settle(token, "stored");
    r.stored[5] = 1;
    await r.answer();
    expect(r.keeper.fenced(5, false)).toBe(true);
    await r.pass(1);
    await r.answer();
    expect(r.keeper.fenced(5, true)).toBe(true);
    r.stored[5] = 0;
    r.keeper.ended([row(5)], r.keeper.readings);
    expect(r.keeper.fenced(5, false)).toBe(false);
  });

  it("so does one that is being stored; and one that it has counted as well costs another reading, no more", async () => {
    const r = await known();
    const token = {};
    r.keeper.reserve(token, 5);
    r.stored[5] = 1;
    void r.keeper.refill();
    await r.settle();
    await r.answer();
    r.keeper.settle(token, "stored");
    r.keeper.ended([row(5)], r.keeper.readings);
    r.stored[5] = 0;
    // It was counted twice.
    expect(r.keeper.fenced(5, false)).toBe(true);
    await r.pass(1);
    expect(r.asked()).toBe(1);
    await r.answer();
    expect(r.keeper.fenced(5, false)).toBe(false);
  });

  it("a row that ends meanwhile, and that it counts, is found gone by the next", async () => {
    const r = await known();
    const token = {};
    r.keeper.reserve(token, 5);
    r.keeper.settle(token, "stored");
    r.stored[5] = 1;
    void r.keeper.refill();
    await r.settle();
    r.stored[5] = 0;
    r.keeper.ended([row(5)], r.keeper.readings);
    await r.answer();
    expect(r.keeper.fenced(5, false)).toBe(true);
    await r.pass(1);
    await r.answer();
    expect(r.keeper.fenced(5, false)).toBe(false);
  });

  it("another one waits for it", async () => {
    const r = await known();
    void r.keeper.refill();
    void r.keeper.refill();
    await r.settle();
    expect(r.asked()).toBe(1);
    await r.answer();
    expect(r.asked()).toBe(1);
    await r.answer();
    expect(r.asked()).toBe(0);
  });
});

describe("it is read again", () => {
  it("never while this process relays and knows all; each second while another one relays our rows", async () => {
    const r = await known();
    r.keeper.reserve(r, 5);
    r.keeper.settle(r, "stored");
    r.stored[5] = 1;
    await r.pass(30);
    expect(r.asked()).toBe(0);
    r.is.relaying = false;
    await r.pass(1);
    expect(r.asked()).toBe(1);
    await r.answer();
    await r.pass(1);
    expect(r.asked()).toBe(1);
    r.stored[5] = 0;
    await r.answer();
    await r.pass(30);
    expect(r.asked()).toBe(1); // asked before the other one was done: it is answered from then
    await r.answer();
    await r.pass(30);
    expect([r.asked(), r.keeper.fenced(5, false)]).toEqual([0, false]);
  });

  it("after ten seconds at the latest where something was unsure, though rows are on the move all the time", async () => {
    const r = await known();
    r.is.moving = true;
    r.keeper.reserve(r, 5);
    r.keeper.settle(r, "unsure");
    await r.pass(9);
    expect([r.asked(), r.keeper.fenced(5, false)]).toEqual([0, true]);
    await r.pass(1);
    expect(r.asked()).toBe(1);
    await r.answer();
    expect(r.keeper.fenced(5, false)).toBe(false);
  });

  it("no more after a close, and no timer is left", async () => {
    const r = await known();
    r.keeper.close();
    await r.pass(5);
    expect([r.asked(), r.clock.pending()]).toEqual([0, 0]);
  });
});

it("somebody else's row that this process relays opens no fence of its own", async () => {
  const r = rig();
  r.stored[5] = 1;
  void r.keeper.start();
  await r.settle();
  await r.answer();
  const token = {};
  r.keeper.reserve(token, 5);
  r.keeper.settle(token, "stored");
  r.keeper.ended([theirs(5)], r.keeper.readings);
  expect(r.keeper.fenced(5, true)).toBe(true);
  r.keeper.ended([row(5)], r.keeper.readings);
  expect(r.keeper.fenced(5, false)).toBe(false);
});
