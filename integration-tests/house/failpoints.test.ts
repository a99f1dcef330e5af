// Every failpoint of the list is passed somewhere in core's sources; that each name passed is on the list, the types say.
import { FAILPOINTS } from "@tallymq/core/spi";
import { expect, it } from "vitest";
import { PLANS } from "../crash/scenarios.ts";
import { HALF_POINTS } from "../halves/judge.ts";
import { filesBelow } from "./files.ts";

const CALL = /failpoint\(([^;]*?)\);/g;

it("each failpoint on the list is passed in core's sources", () => {
  const calls = filesBelow("packages/core/src", /\.ts$/)
    .filter(({ path }) => !path.endsWith("/failpoints.ts"))
    .flatMap(({ text }) => [...text.matchAll(CALL)].map(([, given]) => given ?? ""));
  const passed = new Set(calls.flatMap((given) => [...given.matchAll(/"([^"]+)"/g)].map(([, name]) => name)));
  expect([...passed].toSorted()).toEqual(Object.keys(FAILPOINTS).toSorted());
});

it("each failpoint is reached by a run of the crash matrix, or by that of the half messages", () => {
  expect([...Object.keys(PLANS), ...HALF_POINTS].toSorted()).toEqual(Object.keys(FAILPOINTS).toSorted());
});

it("each failpoint is named room.place, and says what has happened there", () => {
  for (const [name, meaning] of Object.entries(FAILPOINTS)) {
    expect(name).toMatch(/^[a-z-]+\.[a-z-]+$/);
    expect(meaning.length, name).toBeGreaterThan(20);
  }
});
