import { collectGarbage, turns } from "@tallymq/testkit";
import { DEAF, ORDERS, SenderJournal } from "@tallymq/testkit/port";
import { expect, it } from "vitest";
import type { RocketTransport } from "../src/transport.ts";
import { FakeCluster } from "./fake-cluster.ts";
import { FakeDriver, SIGNAL } from "./fake-driver.ts";

/** One session of each kind. */
async function three(transport: RocketTransport): Promise<readonly AsyncDisposable[]> {
  return [
    await transport.openSender(new SenderJournal().events, SIGNAL),
    await transport.openReceiver({ topic: ORDERS, group: "billing", credit: 10, consumer: "c" }, DEAF, SIGNAL),
    await transport.halfMessages!.open([ORDERS], { asked: () => {}, lost: () => {} }, SIGNAL),
  ];
}

/** Those three, disposed of; nobody else holds them. */
async function ended(driver: FakeDriver, transport: RocketTransport): Promise<readonly WeakRef<object>[]> {
  const sessions = await three(transport);
  await Promise.all(sessions.map((session) => session[Symbol.asyncDispose]()));
  await turns();
  driver.links.length = 0;
  return sessions.map((session) => new WeakRef<object>(session));
}

it("the transport lets go of each session that has ended, of whatever kind, and ends the others with itself", async () => {
  const driver = new FakeDriver();
  const transport = driver.transport({}, new FakeCluster().cluster());
  await transport.admin.declare([ORDERS], SIGNAL);
  const sessions = await ended(driver, transport);
  await three(transport);
  await turns();
  collectGarbage();
  expect(sessions.map((session) => session.deref())).toEqual([undefined, undefined, undefined]);
  const links = driver.links.slice(-3);
  await transport[Symbol.asyncDispose]();
  expect(links.map(({ closed }) => closed)).toEqual([1, 1, 1]);
});
