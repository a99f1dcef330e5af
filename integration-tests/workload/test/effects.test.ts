import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test, expect } from "vitest";
import { createEffects, openEffects } from "../effects.ts";
import { hashOf, orderOf } from "../order.ts";

function database(): string {
  const folder = mkdtempSync(join(tmpdir(), "tally-effects-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, "effects.db");
}

test("a double is two rows, not one that the database made of them", () => {
  const path = database();
  using one = createEffects(path);
  using two = openEffects(path);
  const order = orderOf(1, 1);
  one.bill(order, "a");
  two.bill(order, "b");
  expect([...one.rows()]).toEqual([
    { id: order.id, n: 1, commit: 1, bodyHash: hashOf(order) },
    { id: order.id, n: 1, commit: 2, bodyHash: hashOf(order) },
  ]);
  expect(one.billed()).toBe(1);
});

test("a handler that is idempotent by itself leaves one row", () => {
  using effects = createEffects(database(), true);
  const order = orderOf(1, 1);
  effects.billOnce(order, "a");
  effects.billOnce(order, "b");
  expect([...effects.rows()]).toHaveLength(1);
});

test("number and seed decide an order, and nothing else", () => {
  expect(orderOf(7, 1)).toEqual(orderOf(7, 1));
  expect(orderOf(7, 1)).not.toEqual(orderOf(7, 2));
  expect(new Set(Array.from({ length: 2000 }, (_, n) => orderOf(n, 1).customer)).size).toBe(64);
});
