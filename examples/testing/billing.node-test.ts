// The same with node:test:  node --test examples/testing/billing.node-test.ts
import assert from "node:assert/strict";
import { test } from "node:test";
import { orders } from "../orders.ts";
import { openStage } from "./stage.ts";

test("bills an order", async () => {
  await using stage = await openStage();
  await stage.tally.publish(orders, { id: "o-1", customer: "ada", cents: 1999 }, { id: "o-1" });
  await stage.broker.idle();
  assert.deepEqual(stage.bills(), ["o-1: 1999"]);
});

test("bills it once, although the broker lost its session before the ack", async () => {
  await using stage = await openStage();
  stage.broker.faults.on("settle").loseSession();
  await stage.tally.publish(orders, { id: "o-1", customer: "ada", cents: 1999 }, { id: "o-1" });
  await stage.broker.idle();
  assert.equal(stage.broker.faults.pending, 0);
  assert.deepEqual(stage.bills(), ["o-1: 1999"]);
  assert.equal(stage.tally.counters().duplicate, 1);
});
