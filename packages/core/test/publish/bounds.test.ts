import { collectGarbage } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { bytes } from "../../src/codec.ts";
import { Window, type Admitted } from "../../src/publish/window.ts";
import { topic } from "../../src/topic.ts";
import { growth, MUCH } from "../support/growth.ts";
import { accepted, away, rig, type Rig, type RigOptions, watch } from "../support/scripted-transport.ts";

const raw = topic<Uint8Array>("raw", { codec: bytes });
const keyed = topic<{ key: string; n: number }>("keyed", { key: (b) => b.key, ordered: true });

/** Megabytes of bodies that something still holds. */
async function held(r: Rig): Promise<number> {
  await r.clock.advance(0);
  collectGarbage();
  await r.clock.advance(0);
  collectGarbage();
  return process.memoryUsage().arrayBuffers / 1e6;
}

type Setting = readonly [name: string, prepare: (r: Rig) => Promise<unknown>, options: RigOptions];
const settings: readonly Setting[] = [
  ["there is no session", async (r) => void (r.away = away), {}],
  ["the broker is blocked", async (r) => (await r.clock.advance(0), r.sessions[0]?.events.blocked("disk alarm")), {}],
  ["the topic cannot be declared", async (r) => (await r.clock.advance(0), r.refuseTopic.set("raw", away)), {}],
  [
    "the lane is silent",
    async (r) => {
      watch(r.publisher.publish(raw, new Uint8Array(1), { id: "stuck", deadline: "24h" }));
      await r.clock.advance(10_100);
    },
    { confirmTimeout: "10s" },
  ],
];

describe("messages whose callers have given up leave nothing behind", () => {
  it.each(settings)("while %s", async (_name, prepare, options) => {
    const r = rig({ window: 50, ...options });
    await prepare(r);
    const before = await held(r);
    let rejected = 0;
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 50; i++) {
        r.publisher.publish(raw, new Uint8Array(50_000), { deadline: 5 }).catch(() => rejected++);
      }
      await r.clock.advance(20);
    }
    expect(rejected).toBe(2_000);
    expect(r.publisher.live).toBeLessThanOrEqual(1);
    // 100 MB went through; what is left is less than a window of it.
    expect((await held(r)) - before).toBeLessThan(20);
  });
});

describe("giving up takes constant time, wherever one stands", () => {
  it("in the line before the window", async () => {
    interface Waiter extends Admitted {
      readonly n: number;
    }
    const grown = await growth(5_000, (count) => {
      const window = new Window<Waiter>(1, 1_000, () => {});
      const all = Array.from({ length: count }, (_, n): Waiter => ({
        n,
        bytes: 1,
        queue: null,
        ahead: null,
        behind: null,
      }));
      for (const who of all) window.enter(who);
      for (const who of all.slice(1).toReversed()) window.giveUp(who);
    });
    expect(grown).toBeLessThan(MUCH);
  });

  it("for thousands that share one signal, without a warning of too many listeners", async () => {
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on("warning", onWarning);
    const grown = await growth(1_000, async (count) => {
      const r = rig({ window: 10 });
      const abort = new AbortController();
      const all = Array.from({ length: count }, () =>
        watch(r.publisher.publish(raw, new Uint8Array(1), { signal: abort.signal })),
      );
      abort.abort();
      await r.clock.advance(0);
      expect(all.every((p) => p.error?.code === "aborted")).toBe(true);
      expect(r.publisher.live).toBe(0);
    });
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
    expect(grown).toBeLessThan(MUCH);
  });

  it("in the middle of an ordered key, whose place is kept by those who stay", async () => {
    const grown = await growth(800, async (count) => {
      const r = rig({ window: 10 });
      const aborts = Array.from({ length: count }, () => new AbortController());
      for (const [n, { signal }] of aborts.entries()) {
        watch(r.publisher.publish(keyed, { key: "a", n }, { id: `a${n}`, signal }));
      }
      // From the end to the front, all but two in the middle.
      for (let n = count - 1; n > 0; n--) if (n !== 200 && n !== 400) aborts[n]?.abort();
      for (let i = 0; i < 3; i++) {
        await r.clock.advance(0);
        r.copies.at(-1)?.verdict(accepted);
      }
      watch(r.publisher.publish(keyed, { key: "a", n: count }, { id: "last" }));
      await r.clock.advance(0);
      expect(r.copies.map((c) => c.message.id)).toEqual(["a0", "a200", "a400", "last"]);
    });
    expect(grown).toBeLessThan(MUCH);
  });
});
