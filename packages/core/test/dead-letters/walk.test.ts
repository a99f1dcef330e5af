// A walk through letters over a broker that takes its time.
import { seededRandom, virtualClock } from "@tallymq/testkit";
import { expect, test } from "vitest";
import { TallyError, type TallyEvent } from "../../src/index.ts";
import { Walk } from "../../src/dead-letters/walk.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Delivery, ReceiverEvents, Settlement } from "../../src/port/receiving.ts";
import { turns } from "../support/guarded.ts";
import { watch } from "../support/scripted-transport.ts";

/** A walk through three letters; `back` is what the broker says there is after it. */
async function walking() {
  const clock = virtualClock();
  const script = { there: 3 };
  const settled: Settlement[] = [];
  let events: ReceiverEvents | null = null;
  const transport = {
    admin: { declare: async () => {}, backlog: async () => script.there },
    async openReceiver(_of: unknown, heard: ReceiverEvents) {
      events = heard;
      return {
        settle: (batch: readonly Settlement[]) => void settled.push(...batch),
        async [Symbol.asyncDispose]() {},
      };
    },
  };
  const runtime = {
    ...{ service: "shop", run: "0".repeat(32), clock, random: seededRandom(1), transport },
    events: { emit: (_event: TallyEvent) => {} },
    ...{ reconnect: { min: 100, max: 1_000 }, connectWithin: 1_000 },
  } as unknown as Runtime;
  const plan = { name: "orders.billing.dead-letters", ordered: true, groups: ["dead-letters"] };
  const walk = new Walk({ runtime, plan, hold: 10, signal: new AbortController().signal });
  await turns();
  const letters = [1, 2, 3].map((n) => ({ message: { id: `o-${n}` } }) as unknown as Delivery);
  const heard = events as ReceiverEvents | null;
  heard!.deliver(letters);
  return { clock, script, walk, letters, settled, events: heard! };
}

test("ends when the broker has back what was in hand: another look would find the queue empty before", async () => {
  const { clock, script, walk } = await walking();
  expect([await walk.next(), await walk.next()]).toHaveLength(2);
  script.there = 0;
  const over = watch(Promise.resolve(walk[Symbol.asyncDispose]()));
  await turns();
  for (script.there = 1; script.there < 3; script.there++) {
    await clock.advance(500);
    await turns();
    expect(over.state).toBe("pending");
  }
  await clock.advance(10);
  await turns();
  expect([over.state, clock.pending()]).toEqual(["resolved", 0]);
});

test("and waits no longer than two seconds for that: somebody else may have been faster", async () => {
  const { clock, script, walk } = await walking();
  script.there = 0;
  const over = watch(Promise.resolve(walk[Symbol.asyncDispose]()));
  await turns();
  for (let n = 0; n < 19; n++) {
    await clock.advance(100);
    await turns();
  }
  expect(over.state).toBe("pending");
  await clock.advance(100);
  await turns();
  expect([over.state, clock.pending()]).toEqual(["resolved", 0]);
});

test("an ack of which the session says that it has not left is none: its letter is still to be seen", async () => {
  const { clock, walk, letters, settled, events } = await walking();
  for (let n = 0; n < 3; n++) expect(walk.ack((await walk.next()) as Delivery)).toBe(true);
  expect([walk.acked, walk.left, settled.length]).toEqual([3, 0, 3]);
  events.unsettled(letters.slice(1), new TallyError("session-lost", "cut", { retryable: true }));
  expect([walk.acked, walk.left]).toEqual([1, 2]);
  events.deliver([letters[1]!]);
  expect(await walk.next()).toBe(letters[1]);
  const over = watch(Promise.resolve(walk[Symbol.asyncDispose]()));
  await clock.advance(3_000);
  await turns();
  expect(over.state).toBe("resolved");
});
