// The relay by itself, over a store and a publisher that do what the test says.
import { seededRandom, virtualClock } from "@tallymq/testkit";
import { expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import { OUT_BYTES, Relay, type RelayOutcome } from "../../src/outbox/relay.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { GivenBack, OutboxLease, OutboxStore, Row } from "../../src/stores.ts";

const MIB = 1024 * 1024;
const proof = { routed: "yes", persisted: "yes", replicated: "yes" } as const;
const row = (place: number, bytes = 1, slot: number | null = null): Row =>
  ({ place, slot, doubtful: false, message: { topic: "orders", id: `m${place}`, body: new Uint8Array(bytes) } }) as Row;

/** @param rows What the store has, of which it gives `atOnce` a call. */
async function relaying(rows: Row[], atOnce: number) {
  const clock = virtualClock();
  const calls: string[] = [];
  const out = new Map<number, (outcome: RelayOutcome) => void>();
  const parked = Promise.withResolvers<void>();
  const leases: ((error: TallyError) => void)[] = [];
  const lease = {
    take: async (most: number) => rows.splice(0, Math.min(most, atOnce)),
    limit() {},
    async end(ended: readonly { readonly place: number }[]) {
      calls.push(`ended ${ended.map(({ place }) => place).join()}`);
    },
    async giveBack(back: readonly GivenBack[]) {
      await null;
      calls.push(`back ${back.map(({ place }) => place).join()}`);
    },
    async park(place: number) {
      calls.push(`parks ${place}`);
      await parked.promise;
      calls.push(`parked ${place}`);
    },
    async [Symbol.asyncDispose]() {
      calls.push("over");
    },
  } as unknown as OutboxLease;
  const relay = new Relay({
    runtime: {
      ...{ clock, random: seededRandom(1), transport: { name: "broker" }, events: { emit() {} } },
      reconnect: { min: 100, max: 1_000 },
    } as unknown as Runtime,
    store: {
      async lease(_to: unknown, lost: (error: TallyError) => void) {
        leases.push(lost);
        return lease;
      },
    } as unknown as OutboxStore,
    most: 100,
    send: ({ place }, done) => void out.set(place, done),
    // None of what is on its way has a copy out.
    withdraw(slot) {
      for (const [place, done] of [...out])
        if (slot === null || slot === 7) {
          out.delete(place);
          done({ is: "withdrawn", doubtful: false });
        }
    },
    ...{ readings: () => 0, ended() {}, rests() {} },
  });
  relay.usable(true);
  const settle = async (): Promise<void> => {
    for (let n = 0; n < 30; n++) await clock.advance(0);
  };
  await settle();
  return {
    ...{ calls, leases, clock, out, parked, relay, settle },
    end(place: number, outcome: RelayOutcome): void {
      const done = out.get(place)!;
      out.delete(place);
      done(outcome);
    },
  };
}

it("rows on their way hold 32 MiB and what one row is more; with the end of one the next is taken", async () => {
  const large = Array.from({ length: 10 }, (_, n) => row(n + 1, 10 * MIB));
  const r = await relaying(large, 1);
  expect(OUT_BYTES).toBe(32 * MIB);
  expect([...r.out.keys()]).toEqual([1, 2, 3, 4]);
  r.end(1, { is: "accepted", proof });
  await r.settle();
  expect([...r.out.keys()]).toEqual([2, 3, 4, 5]);
  await r.relay.close();
});

it("what is taken back behind a refused row of its slot is given back when that is parked, not before", async () => {
  const r = await relaying([row(1, 1, 7), row(2, 1, 7), row(3, 1, 7)], 3);
  expect([...r.out.keys()]).toEqual([1, 2, 3]);
  r.end(1, { is: "refused", error: new TallyError("refused", "no") });
  await r.settle();
  expect([r.calls, r.out.size]).toEqual([["parks 1"], 0]);
  r.parked.resolve();
  await r.settle();
  expect(r.calls).toEqual(["parks 1", "parked 1", "back 2,3"]);
  await r.relay.close();
});

it("when it gives up its lease, what has no copy out is told first: the next relay need not doubt it", async () => {
  const r = await relaying([row(1), row(2), row(3)], 3);
  r.end(2, { is: "accepted", proof });
  r.relay.usable(false);
  await r.clock.advance(5_000);
  await r.settle();
  expect(r.calls.toSorted()).toEqual(["back 1,3", "ended 2", "over"]);
  expect(r.calls.at(-1)).toBe("over");
});

it("a lease that is lost is asked for again, but not while the session cannot be used", async () => {
  const r = await relaying([], 1);
  const robbed = new TallyError("fenced", "another process took the lease");
  r.leases[0]!(robbed);
  await r.settle();
  expect(r.leases).toHaveLength(2);
  r.relay.usable(false);
  r.leases[1]!(robbed);
  await r.settle();
  expect([r.leases.length, r.relay.holds]).toEqual([2, false]);
  r.relay.usable(true);
  await r.settle();
  expect([r.leases.length, r.relay.holds]).toEqual([3, true]);
});
