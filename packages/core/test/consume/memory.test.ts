import { describe, expect, test } from "vitest";
import { AwayKeys } from "../../src/consume/away.ts";
import { type LaneItem, Lanes } from "../../src/consume/lanes.ts";
import { TallyError } from "../../src/error.ts";
import { incoming } from "../support/receiving.ts";

interface Item extends LaneItem<Item> {
  readonly name: string;
}
function lanes(limit: number): {
  lanes: Lanes<Item>;
  keys: Map<string, Item>;
  started: string[];
  add: (name: string, key: string | null) => Item;
} {
  const keys = new Map<string, Item>();
  const started: string[] = [];
  const made = new Lanes<Item>(limit, (item) => void started.push(item.name));
  const add = (name: string, key: string | null): Item => {
    const item: Item = { name, key, keys, next: null, behind: null, last: null };
    made.add(item);
    return item;
  };
  return { lanes: made, keys, started, add };
}

describe("memory does not grow with keys", () => {
  test("a key is in the map only while something of it is in hand", () => {
    const l = lanes(4);
    for (let round = 0; round < 1_000; round++) {
      const items = Array.from({ length: 8 }, (_, i) => l.add(`${round}.${i}`, `key-${round}-${i >> 1}`));
      l.lanes.pump();
      expect(l.keys.size).toBe(4);
      for (const item of items) {
        l.lanes.leave();
        l.lanes.end(item);
        l.lanes.pump();
      }
      expect(l.keys.size).toBe(0);
    }
    expect(l.started).toHaveLength(8_000);
  });

  test("waiting items that are gone are taken out wherever they wait, and the rest keep their order", () => {
    const l = lanes(1);
    const running = l.add("k1", "k");
    for (const name of ["k2 gone", "k3", "k4 gone", "k5"]) l.add(name, "k");
    l.add("free gone", null);
    l.add("free", null);
    l.lanes.pump();
    const dropped = l.lanes.purge(l.keys, ({ name }) => name.endsWith("gone"));
    expect(dropped.map(({ name }) => name)).toEqual(["free gone"]);
    l.lanes.leave();
    l.lanes.end(running);
    l.lanes.pump();
    expect(l.started).toEqual(["k1", "free"]);
    l.lanes.leave();
    l.lanes.pump();
    expect(l.started).toEqual(["k1", "free", "k3"]);
    expect(l.lanes.takeBehind(l.keys.get("k")!).map(({ name }) => name)).toEqual(["k5"]);
    l.lanes.end(l.keys.get("k")!);
    expect(l.keys.size).toBe(0);
  });

  test("released keys that never come back are forgotten after a minute", () => {
    let now = 0;
    const away = new AwayKeys(() => now);
    const why = new TallyError("handler", "x");
    for (let i = 0; i < 10_000; i++) {
      now += 100;
      away.left(`key-${i}`, [incoming({ id: `m${i}` })], why);
      expect(away.size).toBeLessThanOrEqual(600);
    }
    expect(away.arrived("key-9999", incoming({ id: "other" }), null)).toBe(why);
    expect(away.arrived("key-9999", incoming({ id: "m9999", producer: "another" }), null)).toBe(why);
    now += 60_000;
    expect(away.arrived("key-9999", incoming({ id: "other" }), null)).toBe(null);
    away.clear();
    expect(away.size).toBe(0);
  });

  test("what came back and was acked leaves nothing behind", () => {
    const away = new AwayKeys(() => 0);
    const why = new TallyError("handler", "x");
    const [m1, m2] = [incoming({ id: "m1" }), incoming({ id: "m2" })];
    away.left("k", [m1, m2], why);
    expect(away.arrived("k", m1, 2)).toBe(null);
    away.done("k", m1);
    expect(away.size).toBe(1);
    expect(away.arrived("k", m2, 2)).toBe(null);
    expect(away.size).toBe(0);
  });

  test("a message without id is neither tracked nor turned back", () => {
    const away = new AwayKeys(() => 0);
    const why = new TallyError("handler", "x");
    away.left("k", [incoming()], why);
    expect(away.size).toBe(0);
    away.left("k", [incoming({ id: "m1" })], why);
    expect(away.arrived("k", incoming(), null)).toBe(null);
  });
});
