// A claim that another consumer has by now: found out before something more is done for it.
import { expect, test } from "vitest";
import { retry } from "../../src/consume/rulings.ts";
import { topic } from "../../src/topic.ts";
import { turns, world } from "../support/guarded.ts";

const orders = topic<{ id: string | null }>("orders");

test("a claim lost between two attempts: the handler does not run beside the other one's, and nothing is acked", async () => {
  const w = world();
  const [a, b] = [await w.process(), await w.process()];
  let ran = 0;
  await a
    .consumer({ lease: "10s", onError: () => retry({ after: "20s" }) })
    .on(orders, () => {
      ran++;
      throw new Error("no");
    })
    .start();
  await b
    .consumer({ lease: "10s" })
    .on(orders, () => new Promise<void>(() => {}))
    .start();
  a.receiver.deliver({ id: "m1" });
  await turns();
  w.inbox.expireLeases();
  b.receiver.deliver({ id: "m1", count: 2 });
  await w.pass(25_000);
  expect([ran, a.of("attempt-failed").length]).toEqual([1, 1]);
  expect(a.of("fenced")).toMatchObject([{ id: "m1", topic: "orders", group: "billing" }]);
  await w.pass(20_000);
  expect([ran, a.receiver.settled, a.letters]).toEqual([1, ["release m1"], []]);
  expect(w.inbox.marks).toMatchObject([{ state: "open", attempts: 2 }]);
});
