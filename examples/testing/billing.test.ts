// Testing a handler with vitest: publish, wait until the broker is idle, look at the effects.
import { expect, it } from "vitest";
import { orders } from "../orders.ts";
import { openStage } from "./stage.ts";

it("bills an order", async () => {
  await using stage = await openStage();
  await stage.tally.publish(orders, { id: "o-1", customer: "ada", cents: 1999 }, { id: "o-1" });
  await stage.broker.idle();
  expect(stage.bills()).toEqual(["o-1: 1999"]);
});

it("bills it once, although its confirm was lost and its delivery came twice", async () => {
  await using stage = await openStage();
  stage.broker.faults.on("send").loseSession({ stored: true });
  stage.broker.faults.on("deliver").duplicateDelivery();
  await stage.tally.publish(orders, { id: "o-1", customer: "ada", cents: 1999 }, { id: "o-1" });
  await stage.broker.idle();
  expect(stage.broker.faults.pending).toBe(0); // both have struck
  expect(stage.bills()).toEqual(["o-1: 1999"]);
  expect(stage.tally.counters()).toMatchObject({ resend: 1, duplicate: 2 });
});

it("gives up what is declined, and bills what comes behind it", async () => {
  await using stage = await openStage();
  await stage.tally.publish(orders, { id: "o-1", customer: "ada", cents: 1_000_001 }, { id: "o-1" });
  await stage.tally.publish(orders, { id: "o-2", customer: "ada", cents: 1999 }, { id: "o-2" });
  await stage.broker.idle();
  expect(stage.bills()).toEqual(["o-2: 1999"]);
  const letters = stage.broker.messages("orders.billing.dead-letters", "dead-letters");
  expect(letters.map(({ message }) => message.id)).toEqual(["o-1"]);
});
