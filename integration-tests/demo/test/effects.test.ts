import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test, expect } from "vitest";
import { createEffects, openEffects } from "../workload/effects.ts";
import { hashOf, orderOf } from "../workload/order.ts";

function database(): string {
  const folder = mkdtempSync(join(tmpdir(), "tally-effects-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, "effects.db");
}

test("an order is billed once, whichever process is asked", () => {
  const path = database();
  using one = createEffects(path);
  using two = openEffects(path);
  const order = orderOf(1, 1);
  expect([one.bill(order, "a"), two.bill(order, "b"), one.bill(order, "a")]).toEqual([true, false, false]);
  expect([...two.rows()]).toEqual([{ id: order.id, n: 1, commit: 1, bodyHash: hashOf(order) }]);
});

test("a double is two rows, not one that the database made of them", () => {
  using effects = createEffects(database());
  const order = orderOf(1, 1);
  effects.billAgain(order, "a");
  effects.billAgain(order, "a");
  expect([...effects.rows()].map(({ id, commit }) => [id, commit])).toEqual([
    [order.id, 1],
    [order.id, 2],
  ]);
});

test("a bill and its mark commit together or not at all", () => {
  using effects = createEffects(database());
  const unfit = { ...orderOf(1, 1), cents: null } as never;
  expect(() => effects.bill(unfit, "a")).toThrow(/NOT NULL/);
  expect(effects.handled()).toBe(0);
  expect(effects.bill(orderOf(1, 1), "a")).toBe(true);
});

test("number and seed decide an order, and nothing else", () => {
  expect(orderOf(7, 1)).toEqual(orderOf(7, 1));
  expect(orderOf(7, 1)).not.toEqual(orderOf(7, 2));
  expect(new Set(Array.from({ length: 2000 }, (_, n) => orderOf(n, 1).customer)).size).toBe(64);
});
