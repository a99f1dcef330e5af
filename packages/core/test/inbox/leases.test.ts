// The leases of claims, beside a store that is slow, fails, or has given them to another one.
import { virtualClock } from "@tallymq/testkit";
import { describe, expect, test } from "vitest";
import { sleep } from "../../src/clock.ts";
import { type Answer, Claims, type Hold } from "../../src/inbox/claims.ts";
import type { Claim, InboxKey, InboxStore } from "../../src/stores.ts";
import { watch } from "../support/scripted-transport.ts";

const LEASE = 10_000;
const keyOf = (id: string, producer = "shop"): InboxKey => ({
  ...{ group: "billing", topic: "orders", producer, id, bodyHash: 1n },
});

/** A consumer's claims on a store that does what the test says. */
function rig() {
  const clock = virtualClock();
  const renewals: string[] = [];
  const fenced: string[] = [];
  const surfaced: string[] = [];
  const script = {
    /** How long an answer to a claim takes. */
    slow: 0,
    state: "fresh" as "fresh" | "done",
    renew: async (): Promise<boolean> => true,
  };
  let fences = 0;
  const store = {
    async claim(asks: readonly InboxKey[]): Promise<readonly Claim[]> {
      if (script.slow > 0) await sleep(clock, script.slow, new AbortController().signal);
      return asks.map((key) =>
        script.state === "done" ? { state: "done", key } : { state: "fresh", key, attempt: 1, fence: ++fences },
      );
    },
    renew({ key }: { readonly key: InboxKey }): Promise<boolean> {
      renewals.push(`${key.id} at ${clock.now() - start}`);
      return script.renew();
    },
    end: async () => true,
  };
  const claims = new Claims({
    ...{ store: store as unknown as InboxStore<unknown>, clock, leaseMs: LEASE },
    fenced: ({ claim }) => fenced.push(claim.key.id),
    surfaced: (text) => surfaced.push(text),
  });
  const start = clock.now();
  const ask = (id: string, producer?: string): Promise<Answer> => claims.ask({ ...keyOf(id, producer), behind: null });
  const hold = async (id: string): Promise<Hold> => {
    const answer = await ask(id);
    return answer.state === "fresh" ? answer.hold : expect.fail(answer.state);
  };
  return { clock, claims, script, renewals, fenced, surfaced, ask, hold };
}

describe("a claim", () => {
  test("whose answer took as long as its lease is worth nothing: another one may have it by now", async () => {
    const r = rig();
    r.script.slow = LEASE;
    const asked = watch(r.ask("m1"));
    await r.clock.advance(LEASE);
    expect(asked.error).toMatchObject({
      ...{ code: "store", retryable: true, message: "[store] the inbox answered after the lease" },
    });
    expect([r.claims.find(keyOf("m1")), r.clock.pending()]).toEqual([undefined, 0]);
    // That the effect is there stays true.
    r.script.state = "done";
    const done = r.ask("m1");
    await r.clock.advance(LEASE);
    expect((await done).state).toBe("done");
  });

  test("has its lease from before the question: what the store took for the answer is not added", async () => {
    const r = rig();
    await r.hold("m1");
    await r.clock.advance(2_500);
    r.script.slow = 2_400;
    const second = r.hold("m2");
    await r.clock.advance(2_400);
    await second;
    await r.clock.advance(2_700);
    expect(r.renewals).toEqual(["m1 at 5000", "m2 at 7500"]);
  });

  test("whose answer was slow beside the lease is renewed at once", async () => {
    const r = rig();
    r.script.slow = 3_000;
    const slow = r.hold("m1");
    await r.clock.advance(3_000);
    await slow;
    expect(r.renewals).toEqual(["m1 at 3000"]);
  });

  test("is renewed at half of its lease each time, beside those that others were given before it", async () => {
    const r = rig();
    await r.hold("m1");
    await r.clock.advance(1_000);
    await r.hold("m2");
    await r.clock.advance(15_000);
    expect(r.renewals).toEqual([5, 6, 10, 11, 15, 16].map((at, n) => `m${(n % 2) + 1} at ${at * 1_000}`));
  });

  test("that ends while its renewal is on its way is not fenced, whatever that comes to", async () => {
    const r = rig();
    const gate = Promise.withResolvers<boolean>();
    r.script.renew = () => gate.promise;
    const hold = await r.hold("m1");
    await r.clock.advance(5_000);
    expect(await r.claims.end(hold, { is: "done" })).toBe(true);
    gate.resolve(false);
    await r.clock.advance(0);
    expect([r.fenced, hold.fenced]).toEqual([[], false]);
  });

  test("that another one has by now is told once, and renewed no more", async () => {
    const r = rig();
    r.script.renew = async () => false;
    const hold = await r.hold("m1");
    await r.clock.advance(30_000);
    expect([r.fenced, hold.fenced, r.renewals]).toEqual([["m1"], true, ["m1 at 5000"]]);
    expect(r.clock.pending()).toBe(0);
  });

  test("that cannot be renewed is tried again, and surfaced once until it can", async () => {
    const r = rig();
    const full = (): Promise<never> => Promise.reject(new Error("the disk is full"));
    r.script.renew = full;
    await r.hold("m1");
    await r.clock.advance(20_000);
    expect(r.surfaced).toEqual(["[store] a claim could not be renewed: the disk is full"]);
    r.script.renew = async () => true;
    await r.clock.advance(5_000);
    r.script.renew = full;
    await r.clock.advance(10_000);
    expect([r.renewals.length, r.surfaced.length, r.fenced]).toEqual([7, 2, []]);
  });

  test("is renewed no more after a close, also one that is answered for then", async () => {
    const r = rig();
    await r.hold("m1");
    r.script.slow = 1_000;
    const late = r.hold("m2");
    r.claims.close();
    await r.clock.advance(1_000);
    await late;
    expect(r.clock.pending()).toBe(0);
    await r.clock.advance(20_000);
    expect(r.renewals).toEqual([]);
  });

  test("is its own producer's: (a, bc) is not (ab, c)", async () => {
    const r = rig();
    await Promise.all([r.ask("bc", "a"), r.ask("c", "ab")]);
    const found = [keyOf("bc", "a"), keyOf("c", "ab")].map((key) => r.claims.find(key)?.claim.key);
    expect(found).toEqual([keyOf("bc", "a"), keyOf("c", "ab")].map((key) => ({ ...key, behind: null })));
  });
});
