import { join } from "node:path";
import { expect, test } from "vitest";
import { Child } from "./child.ts";
import { scratch } from "./rig.ts";

const directory = scratch();

test("of two processes that write without a pause neither keeps the other waiting for long", async () => {
  const path = join(directory, "shared.db");
  const both = ["1", "2"].map(() => new Child("eager-process.ts", path, "4000"));
  await Promise.all(both.map((child) => child.has(1)));
  for (const child of both) child.process.stdin?.end("go\n");
  await Promise.all(both.map((child) => child.has(2)));
  // By SQLite's own waiting one of them waits for as long as the other writes.
  for (const { lines } of both) expect(Number(lines[1])).toBeLessThan(2_000);
});
