import { collectGarbage, turns } from "@tallymq/testkit";
import { DEAF, ORDERS, SenderJournal } from "@tallymq/testkit/port";
import { expect, it } from "vitest";
import type { KafkaTransport } from "../src/transport.ts";
import { FakeDriver, SIGNAL } from "./fake-driver.ts";

const open = (transport: KafkaTransport) =>
  transport.openReceiver({ topic: ORDERS, group: "billing", credit: 10, consumer: "c" }, DEAF, SIGNAL);

/** Three sessions, each ended in its way; nobody else holds them. */
async function ended(driver: FakeDriver, transport: KafkaTransport): Promise<readonly WeakRef<object>[]> {
  const sender = await transport.openSender(new SenderJournal().events, SIGNAL);
  await sender[Symbol.asyncDispose]();
  const left = await open(transport);
  await left[Symbol.asyncDispose]();
  const lost = await open(transport);
  driver.members.at(-1)!.events.crashed(new Error("gave up"));
  await turns();
  driver.members.length = 0;
  return [sender, left, lost].map((session) => new WeakRef<object>(session));
}

it("the transport lets go of each session that has ended, in whatever way, and ends the others with itself", async () => {
  const driver = new FakeDriver();
  const transport = driver.transport();
  await transport.admin.declare([ORDERS], SIGNAL);
  const sessions = await ended(driver, transport);
  await transport.openSender(new SenderJournal().events, SIGNAL);
  await open(transport);
  await turns();
  collectGarbage();
  expect(sessions.map((session) => session.deref())).toEqual([undefined, undefined, undefined]);
  await transport[Symbol.asyncDispose]();
  expect(driver.closed).toEqual([1, 2]);
  expect(driver.members.map(({ journal }) => journal.at(-1))).toEqual(["close"]);
});
