import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import type { RocketTransport } from "../src/transport.ts";
import { FakeCluster } from "./fake-cluster.ts";
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

/** One session of each kind. */
async function three(transport: RocketTransport): Promise<readonly AsyncDisposable[]> {
  return [
    await transport.openSender(new Journal().events, SIGNAL),
    await transport.openReceiver({ topic: ORDERS, group: "billing", credit: 10, consumer: "c" }, DEAF, SIGNAL),
    await transport.halfMessages!.open([ORDERS], { asked: () => {}, lost: () => {} }, SIGNAL),
  ];
}

async function stage() {
  const driver = new FakeDriver();
  const transport = driver.transport({}, new FakeCluster().cluster());
  await transport.admin.declare([ORDERS], SIGNAL);
  return { driver, transport };
}

it("a session that has ended is let go of, however long the transport lives: a reconnect leaves nothing", async () => {
  const { driver, transport } = await stage();
  const ended = await (async () => {
    const sessions = await three(transport);
    await Promise.all(sessions.map((session) => session[Symbol.asyncDispose]()));
    await turns();
    driver.links.length = 0;
    return sessions.map((session) => new WeakRef(session));
  })();
  await three(transport);
  await turns();
  gc();
  expect(ended.map((session) => session.deref() === undefined)).toEqual([true, true, true]);
  await transport[Symbol.asyncDispose]();
});

it("the transport ends what is still open, and waits for it", async () => {
  const { driver, transport } = await stage();
  await three(transport);
  const links = driver.links.slice(-3);
  await transport[Symbol.asyncDispose]();
  expect(links.map(({ closed }) => closed)).toEqual([1, 1, 1]);
});
