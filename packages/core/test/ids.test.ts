import { seededRandom } from "@tallymq/testkit";
import { expect, it } from "vitest";
import { uuidV7 } from "../src/ids.ts";

const WALL = 1_764_000_000_000;
const msOf = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);

it("ids rise from one call to the next, however many there are in a millisecond, and say when they were made", () => {
  const random = seededRandom(1);
  const walls = [...Array.from({ length: 5_000 }, () => WALL), WALL + 0.7, WALL - 3, WALL + 5, WALL + 5, WALL + 900];
  const ids = walls.map((wall) => uuidV7(wall, random));
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(ids).toEqual(ids.toSorted());
  expect(new Set(ids).size).toBe(ids.length);
  expect(msOf(ids[0]!)).toBe(WALL);
  // Two thousand at least before they run ahead of the clock.
  expect(msOf(ids[2_000]!)).toBe(WALL);
  expect(msOf(ids[4_999]!) - WALL).toBeLessThan(3);
  expect(msOf(ids.at(-1)!)).toBe(WALL + 900);
});

it("a clock that is put back is believed, and ids of different sources do not wait for each other", () => {
  const [one, two] = [seededRandom(1), seededRandom(2)];
  expect(msOf(uuidV7(WALL, one))).toBe(WALL);
  expect(msOf(uuidV7(WALL - 3_600_000, one))).toBe(WALL - 3_600_000);
  expect(msOf(uuidV7(WALL - 5, two))).toBe(WALL - 5);
  expect(uuidV7(WALL, one)).not.toBe(uuidV7(WALL, two));
});
