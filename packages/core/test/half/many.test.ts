// Many half messages that nobody is at.
import { expect, it } from "vitest";
import type { Decision } from "../../src/index.ts";
import { halfWorld } from "../support/half-world.ts";

it("of many that a dead process left, sixteen are checked at a time, and in the end all", async () => {
  const w = halfWorld();
  const first = await w.process();
  for (let n = 0; n < 40; n++) void first.half.run({ n }, () => new Promise(() => {}), { id: `m${n}` });
  await w.pass(100);
  first.kill();
  let [open, most] = [0, 0];
  const gate = Promise.withResolvers<void>();
  const second = await w.process(async (): Promise<Decision> => {
    most = Math.max(most, ++open);
    await gate.promise;
    open--;
    return "commit";
  });
  await w.pass(20_000);
  expect([open, most]).toEqual([16, 16]);
  gate.resolve();
  await w.pass(10_000);
  expect([most, second.asked.length, w.sent().length]).toEqual([16, 40, 40]);
});
