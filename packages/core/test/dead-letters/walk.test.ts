// A walk through letters over a broker that takes its time.
import { seededRandom, virtualClock } from "@tallymq/testkit";
import { expect, test } from "vitest";
import { TallyError, type TallyEvent } from "../../src/index.ts";
import { Walk } from "../../src/dead-letters/walk.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Delivery, ReceiverEvents, Settlement } from "../../src/port/receiving.ts";
import { turns } from "../support/guarded.ts";
import { watch } from "../support/scripted-transport.ts";

/** A walk through a queue whose first three letters have come; `there` is what the broker says there is. */
async function walking({ there = 3, hold = 10, leaving = Promise.resolve() } = {}) {
  const clock = virtualClock();
  const script = { there };
  const settled: Settlement[] = [];
  let events: ReceiverEvents | null = null;
  const transport = {
    admin: { declare: async () => {}, backlog: async () => script.there },
    async openReceiver(_of: unknown, heard: ReceiverEvents) {
      events = heard;
      return {
        settle: (batch: readonly Settlement[]) => void settled.push(...batch),
        [Symbol.asyncDispose]: () => leaving,
      };
    },
  };
  const runtime = {
    ...{ service: "shop", run: "0".repeat(32), clock, random: seededRandom(1), transport },
    events: { emit: (_event: TallyEvent) => {} },
    ...{ reconnect: { min: 100, max: 1_000 }, connectWithin: 1_000 },
  } as unknown as Runtime;
  const plan = { name: "orders.billing.dead-letters", ordered: true, groups: ["dead-letters"] };
  const walk = new Walk({ runtime, plan, hold, signal: new AbortController().signal });
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

test("what it had no credit for may still come: the quiet begins when some is free again", async () => {
  const { clock, walk, events, letters } = await walking({ there: 4, hold: 3 });
  const held = [await walk.next(), await walk.next(), await walk.next()] as Delivery[];
  expect(held).toEqual(letters);
  expect(await walk.next()).toBe("full");
  // What became of them took longer than the quiet lasts.
  await clock.advance(6_000);
  for (const delivery of held) expect(walk.ack(delivery)).toBe(true);
  const last = watch(walk.next());
  await turns();
  expect(last.state).toBe("pending");
  events.deliver([letters[0]!]);
  await turns();
  expect(last.value).toBe(letters[0]);
  expect(await walk.next()).toBe("end");
});

test("what somebody else holds is not waited for anew with each ack", async () => {
  const { clock, walk, letters } = await walking({ there: 4 });
  for (const _ of letters) await walk.next();
  await clock.advance(6_000);
  expect(walk.ack(letters[0]!)).toBe(true);
  expect(await walk.next()).toBe("end");
});

test("a session that does not end holds nobody up for longer than half a minute", async () => {
  const { clock, walk } = await walking({ leaving: new Promise(() => {}) });
  const over = watch(Promise.resolve(walk[Symbol.asyncDispose]()));
  for (let n = 0; n < 35; n++) {
    await clock.advance(1_000);
    await turns();
  }
  expect(over.state).toBe("resolved");
});
