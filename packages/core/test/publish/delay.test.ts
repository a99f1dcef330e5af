import { memory, memoryOutbox, seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, test } from "vitest";
import { openTally, type Tally, topic } from "../../src/index.ts";
import { openTally as openOn } from "../../src/open.ts";
import { rig, watch } from "../support/scripted-transport.ts";

const HOUR = 3_600_000;
const orders = topic<{ n: number }>("orders", { groups: ["billing", "audit"] });
const stored = topic<{ n: number }>("orders", { groups: ["billing", "audit"], outbox: "always" });

async function opened(given: object = {}) {
  const clock = virtualClock();
  const broker = memory({ clock });
  const tally = (await openOn(
    { service: "shop", broker, ...given },
    { clock, random: seededRandom(1), diagnose: () => {} },
  )) as Tally;
  const queue = (group = "billing"): string[] =>
    broker.messages("orders", group).map(({ message, state }) => `${message.id} ${state}`);
  const close = async (): Promise<void> => {
    const closing = tally.close({ within: 1_000 });
    for (let i = 0; i < 30; i++) await clock.advance(100);
    await closing;
  };
  return { clock, broker, tally, queue, close };
}

describe("publish(…, { delay })", () => {
  test("is confirmed at once and handed out when its time has come, the shorter delay first, to each group", async () => {
    const { clock, tally, queue, close } = await opened();
    const receipts = [
      watch(tally.publish(orders, { n: 1 }, { id: "hour", delay: "1h" })),
      watch(tally.publish(orders, { n: 2 }, { id: "second", delay: "1s" })),
      watch(tally.publish(orders, { n: 3 }, { id: "none", delay: 0 })),
    ];
    await clock.advance(0);
    expect(receipts.map(({ state }) => state)).toEqual(["resolved", "resolved", "resolved"]);
    expect(queue().toSorted()).toEqual(["hour delayed", "none waiting", "second delayed"]);
    await clock.advance(1_000);
    expect(queue("audit").toSorted()).toEqual(["hour delayed", "none waiting", "second waiting"]);
    await clock.advance(HOUR - 1_001);
    expect(queue()).toContain("hour delayed");
    await clock.advance(1);
    expect(queue()).toContain("hour waiting");
    await close();
  });

  test("through the outbox it counts from publish(): the broker keeps it for what is left", async () => {
    const outbox = memoryOutbox();
    const { clock, broker, tally, queue, close } = await opened({ outbox });
    broker.faults.block();
    await clock.advance(0);
    const receipt = watch(tally.publish(stored, { n: 1 }, { id: "o-1", delay: "1h" }));
    const past = watch(tally.publish(stored, { n: 2 }, { id: "o-2", delay: "1m" }));
    await clock.advance(1_000);
    expect([receipt.value?.state, past.value?.state]).toEqual(["stored", "stored"]);
    for (let i = 0; i < 30; i++) await clock.advance(60_000);
    broker.faults.unblock();
    for (let i = 0; i < 50; i++) await clock.advance(100);
    expect(queue().toSorted()).toEqual(["o-1 delayed", "o-2 waiting"]);
    await clock.advance(HOUR / 2 - 20_000);
    expect(queue()).toContain("o-1 delayed");
    await clock.advance(20_000);
    expect(queue()).toContain("o-1 waiting");
    await close();
  });

  test.each([
    ["an ordered topic", topic<number>("o", { ordered: true, key: String, groups: ["g"] }), "1s", "ordered"],
    ["a topic that names no groups", topic<number>("p"), "1s", "names no groups"],
    ["more than the broker can", topic<number>("q", { groups: ["g"] }), "25d", "at most"],
  ] as const)("%s: unsupported, and nothing leaves", async (_what, to, delay, why) => {
    await using tally = await openTally({ service: "shop", broker: memory() });
    await expect(tally.publish(to, 1, { delay })).rejects.toMatchObject({
      code: "unsupported",
      mayArrive: false,
      message: expect.stringContaining(why) as string,
    });
  });

  test("a broker that delays nothing: unsupported; a delay that is none: bad-config", async () => {
    const r = rig();
    const to = topic<string>("plain", { groups: ["g"] });
    await expect(r.publisher.publish(to, "a", { delay: "1s" })).rejects.toMatchObject({ code: "unsupported" });
    for (const delay of ["soon", -1, Number.NaN] as never[])
      await expect(r.publisher.publish(to, "a", { delay })).rejects.toMatchObject({ code: "bad-config" });
    await r.clock.advance(0);
    expect(r.copies).toEqual([]);
  });
});
