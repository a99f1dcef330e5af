import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import type { KafkaTransport } from "../src/transport.ts";
import { FakeDriver, Journal, ORDERS, SIGNAL, turns } from "./fake-driver.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;
const DEAF = {
  deliver: () => {},
  revoking: () => Promise.resolve(),
  revoked: () => {},
  unsettled: () => {},
  gap: () => {},
  lost: () => {},
  surfaced: () => {},
};
const open = (transport: KafkaTransport) =>
  transport.openReceiver({ topic: ORDERS, group: "billing", credit: 10, consumer: "c" }, DEAF, SIGNAL);

/** Three sessions, each ended in its way; nobody else holds them. */
async function ended(driver: FakeDriver, transport: KafkaTransport): Promise<readonly WeakRef<object>[]> {
  const sender = await transport.openSender(new Journal().events, SIGNAL);
  await sender[Symbol.asyncDispose]();
  const left = await open(transport);
  await left[Symbol.asyncDispose]();
  const lost = await open(transport);
  driver.members.at(-1)!.events.crashed(new Error("gave up"));
  await turns();
  driver.members.length = 0;
  return [sender, left, lost].map((session) => new WeakRef<object>(session));
}

it("a session that has ended is let go of, however long the transport lives: a reconnect leaves nothing", async () => {
  const driver = new FakeDriver();
  const transport = driver.transport();
  await transport.admin.declare([ORDERS], SIGNAL);
  const sessions = await ended(driver, transport);
  await transport.openSender(new Journal().events, SIGNAL);
  await open(transport);
  await turns();
  gc();
  expect(sessions.map((session) => session.deref() === undefined)).toEqual([true, true, true]);
  await transport[Symbol.asyncDispose]();
});

it("the transport ends what is still open, and waits for it", async () => {
  const driver = new FakeDriver();
  const transport = driver.transport();
  await transport.admin.declare([ORDERS], SIGNAL);
  await transport.openSender(new Journal().events, SIGNAL);
  await open(transport);
  await transport[Symbol.asyncDispose]();
  expect(driver.closed).toEqual([1]);
  expect(driver.members.map(({ journal }) => journal.at(-1))).toEqual(["close"]);
});
