// One outbox from the outage to the empty store: spill, fence, relay and close share the rig and its words.
import { memoryOutbox, seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import type { OutboxStore } from "../../src/stores.ts";
import { topic } from "../../src/topic.ts";
import { accepted, no, watch } from "../support/scripted-transport.ts";
import { away, heal, ids, open, type Order, ordered, outage, plain } from "../support/spilling.ts";

describe("while the broker cannot be reached", () => {
  it("also when the session took no more by its own word, and no successor can be opened", async () => {
    const s = await open();
    const first = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m-1" }));
    await s.settle();
    s.r.away = away;
    s.r.sessions[0]!.events.retired(new TallyError("in-doubt", "no answer", { mayArrive: true }));
    s.r.copies[0]!.verdict(no("doubt"));
    await s.r.clock.advance(900);
    expect(first.state).toBe("pending");
    await s.r.clock.advance(200);
    await s.settle();
    expect(first).toMatchObject({ state: "resolved", value: { state: "stored" } });
  });

  it("what waits is stored after a while, what comes is stored at once, and all of it is sent in order afterwards", async () => {
    const s = await open();
    await s.settle();
    const all = [1, 2].map((n) => watch(s.r.publisher.publish(plain, { key: "a", n }, { id: `m${n}` })));
    await s.settle();
    s.r.away = away;
    s.r.sessions[0]?.lose();
    await s.r.clock.advance(900);
    await s.settle();
    expect(s.outbox.rows).toHaveLength(0);
    await s.r.clock.advance(110);
    await s.settle();
    expect(all.map((p) => p.value)).toMatchObject([
      { id: "m1", state: "stored" },
      { id: "m2", state: "stored" },
    ]);
    const late = watch(s.r.publisher.publish(plain, { key: "a", n: 3 }, { id: "m3" }));
    await s.settle();
    expect(late.value).toMatchObject({ state: "stored", proof: { persisted: "yes" } });
    // The first two were sent before, and got no verdict.
    expect(s.outbox.rows.map((row) => [row.message.id, row.doubtful])).toEqual([
      ["m1", true],
      ["m2", true],
      ["m3", false],
    ]);
    expect(s.r.count("spilled")).toBe(3);

    await heal(s);
    expect(ids(s.r)).toEqual(["m1", "m2", "m1", "m2", "m3"]);
    // A row goes when the broker has it, and not before.
    expect(s.outbox.rows).toHaveLength(3);
    const late0 = s.r.count("late-verdict");
    await s.accept();
    expect(s.outbox.rows).toHaveLength(0);
    expect(s.r.publisher.live).toBe(0);
    // Nobody waits for a row any more, and yet its verdict is not a late one.
    expect(s.r.count("late-verdict")).toBe(late0);
    const direct = watch(s.r.publisher.publish(plain, { key: "a", n: 4 }, { id: "m4" }));
    await s.accept();
    expect(direct.value).toMatchObject({ state: "confirmed" });
    expect(s.r.count("spilled")).toBe(3);
  });

  it("blocked counts as unreachable, and what the broker has not read is stored as well", async () => {
    const s = await open();
    await s.settle();
    const sent = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" }));
    await s.settle();
    s.r.sessions[0]?.events.blocked("memory alarm");
    await s.r.clock.advance(1_010);
    await s.settle();
    expect(sent.value).toMatchObject({ state: "stored" });
    expect(s.outbox.rows.map((row) => row.doubtful)).toEqual([true]);
    s.r.sessions[0]?.events.unblocked();
    await s.accept();
    expect(s.outbox.rows).toHaveLength(0);
  });

  it("a session that stays silent counts as unreachable, until it answers", async () => {
    const s = await open({ confirmTimeout: "10s", deadline: "1h" });
    await s.settle();
    const sent = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" }));
    await s.r.clock.advance(10_020);
    const waiting = watch(s.r.publisher.publish(plain, { key: "a", n: 2 }, { id: "m2" }));
    await s.r.clock.advance(1_010);
    await s.settle();
    expect([waiting.value, sent.state]).toMatchObject([{ state: "stored" }, "pending"]);
    await s.accept();
    expect(sent.value).toMatchObject({ state: "confirmed" });
    expect(s.outbox.rows).toHaveLength(0);
  });

  it("a lane that fell silent over a message which nobody wants any more is probed by what was stored", async () => {
    const s = await open({ confirmTimeout: "10s" });
    await s.settle();
    void s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1", deadline: "2s" }).catch(() => {});
    await s.r.clock.advance(11_500);
    const stored = watch(s.r.publisher.publish(plain, { key: "a", n: 2 }, { id: "m2" }));
    await s.r.clock.advance(2_000);
    await s.settle();
    for (const copy of s.r.sessions[0]?.open ?? []) copy.verdict(accepted); // by the retired session, which proves little
    await s.accept();
    await s.r.clock.advance(2_000);
    await s.accept();
    expect(stored.state).toBe("resolved");
    expect(s.outbox.rows).toHaveLength(0);
    expect(ids(s.r)).toContain("m2");
  });

  it("an ordered message whose caller has gone is stored as well: its key would wait for it", async () => {
    const s = await open();
    await s.settle();
    const gone = watch(s.r.publisher.publish(ordered, { key: "a", n: 1 }, { id: "a1", deadline: 500 }));
    await s.settle();
    s.r.away = away;
    s.r.sessions[0]?.lose();
    await s.r.clock.advance(510);
    const next = watch(s.r.publisher.publish(ordered, { key: "a", n: 2 }, { id: "a2" }));
    await s.r.clock.advance(600);
    await s.settle();
    expect(gone).toMatchObject({ state: "rejected", error: { code: "deadline", mayArrive: true } });
    expect(s.outbox.rows.map((row) => row.message.id)).toEqual(["a1", "a2"]);
    expect(next.value).toMatchObject({ state: "stored" });
  });

  it("a message that may not be stored waits, and ends at its deadline", async () => {
    const off = topic<Order>("off", { outbox: "off" });
    const s = await open();
    await s.settle();
    await outage(s);
    const seen = watch(s.r.publisher.publish(off, { key: "a", n: 1 }, { id: "m1", deadline: "5s" }));
    await s.r.clock.advance(5_020);
    await s.settle();
    expect(seen).toMatchObject({ state: "rejected", error: { code: "deadline", mayArrive: false } });
    expect(s.outbox.rows).toHaveLength(0);
  });

  it("a verdict that comes while the row is being written counts", async () => {
    const s = await open();
    await s.settle();
    const sent = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" }));
    await s.settle();
    s.r.sessions[0]?.events.blocked("alarm");
    await s.r.clock.advance(1_000);
    s.r.sessions[0]?.open[0]?.verdict(accepted);
    await s.settle();
    expect(sent.value).toMatchObject({ state: "confirmed" });
  });
});

describe("the outbox that cannot take a message", () => {
  it("rejects it at its bound, and says whether a copy may arrive", async () => {
    const s = await open({ maxRows: 1 });
    await s.settle();
    const doubtful = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" }));
    const second = watch(s.r.publisher.publish(plain, { key: "a", n: 2 }, { id: "m2" }));
    await s.settle();
    await outage(s);
    const never = watch(s.r.publisher.publish(plain, { key: "a", n: 3 }, { id: "m3" }));
    await s.settle();
    expect(doubtful.value).toMatchObject({ state: "stored" });
    expect(second).toMatchObject({ state: "rejected", error: { code: "store-full", mayArrive: true, id: "m2" } });
    expect(never).toMatchObject({
      state: "rejected",
      error: { code: "store-full", mayArrive: false, retryable: true },
    });
  });

  it("rejects it with the store's error when it fails, and loses nothing that was stored", async () => {
    const s = await open();
    await s.settle();
    await outage(s);
    const stored = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" }));
    await s.settle();
    s.outbox.broken = new TallyError("store", "no space left on device", { retryable: true });
    const failed = watch(s.r.publisher.publish(plain, { key: "a", n: 2 }, { id: "m2" }));
    await s.settle();
    expect(stored.value).toMatchObject({ state: "stored" });
    expect(failed).toMatchObject({ state: "rejected", error: { code: "store", mayArrive: false, id: "m2" } });
    s.outbox.broken = null;
    await heal(s);
    await s.r.clock.advance(3_000);
    await s.accept();
    expect(s.outbox.rows).toHaveLength(0);
  });

  it("may arrive when nobody knows whether it was stored; what follows of its key does not pass it", async () => {
    const outbox = memoryOutbox();
    // Another process relays, and does not come to what is stored here.
    const others = await outbox.openOutbox({ clock: virtualClock(), random: seededRandom(2), surfaced: () => {} });
    await others.lease(["scripted"], () => {}, new AbortController().signal);
    const s = await open(
      {},
      {
        ...outbox,
        get rows() {
          return outbox.rows;
        },
        async openOutbox(host) {
          const store = await outbox.openOutbox(host);
          const put: OutboxStore["put"] = async (rows) => {
            const results = await store.put(rows);
            if (rows.some(({ message }) => message.id === "lost"))
              throw new TallyError("store", "its thread ended", { mayArrive: true });
            if (rows.some(({ message }) => message.id === "odd")) throw new Error("what a store must not throw");
            return results;
          };
          return { ...store, put };
        },
      },
    );
    await s.settle();
    await outage(s);
    const lost = watch(s.r.publisher.publish(ordered, { key: "a", n: 1 }, { id: "lost" }));
    await s.settle();
    const odd = watch(s.r.publisher.publish(ordered, { key: "b", n: 1 }, { id: "odd" }));
    await s.settle();
    for (const each of [lost, odd])
      expect(each).toMatchObject({ state: "rejected", error: { code: "store", mayArrive: true } });
    await heal(s);
    const next = watch(s.r.publisher.publish(ordered, { key: "a", n: 2 }, { id: "next" }));
    await s.settle();
    expect([next.value?.state, ids(s.r)]).toEqual(["stored", []]);
    expect(outbox.rows.map(({ message }) => message.id)).toEqual(["lost", "odd", "next"]);
  });

  it("the same id again is one row; another body is a conflict", async () => {
    const s = await open();
    await s.settle();
    await outage(s);
    const same = [1, 2].map(() => watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" })));
    await s.settle();
    const again = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" }));
    const other = watch(s.r.publisher.publish(plain, { key: "a", n: 9 }, { id: "m1" }));
    await s.settle();
    expect([...same, again].map((p) => p.value?.state)).toEqual(["stored", "stored", "stored"]);
    expect(other).toMatchObject({ state: "rejected", error: { code: "conflict" } });
    expect(s.outbox.rows).toHaveLength(1);
  });
});

describe("an ordered key with rows in the outbox", () => {
  it("rule 10: an ordered key with rows in the outbox goes on behind them, and no other key waits for it", async () => {
    const s = await open();
    await s.settle();
    await outage(s);
    void s.r.publisher.publish(ordered, { key: "a", n: 1 }, { id: "a1" });
    await s.settle();
    await heal(s);
    expect(ids(s.r)).toEqual(["a1"]);
    // a1 is on its way from the store: a2 must not pass it on the wire, b1 may.
    const a2 = watch(s.r.publisher.publish(ordered, { key: "a", n: 2 }, { id: "a2" }));
    void s.r.publisher.publish(ordered, { key: "b", n: 1 }, { id: "b1" });
    await s.settle();
    expect(ids(s.r)).toEqual(["a1", "b1"]);
    await s.accept();
    expect(a2.state).toBe("resolved");
    expect(ids(s.r)).toEqual(["a1", "b1", "a2"]);
    expect(s.outbox.rows).toHaveLength(0);
    const a3 = watch(s.r.publisher.publish(ordered, { key: "a", n: 3 }, { id: "a3" }));
    await s.accept();
    expect(a3.value).toMatchObject({ state: "confirmed" });
  });

  it("does not stand in the way of its own rows while it waits for them", async () => {
    const s = await open();
    await s.settle();
    await outage(s);
    for (const n of [1, 2, 3]) void s.r.publisher.publish(ordered, { key: "a", n }, { id: `a${n}` });
    await s.settle();
    await heal(s);
    // a1 is on the wire, a2 and a3 are behind it; this one waits until they have gone.
    const last = watch(s.r.publisher.publish(ordered, { key: "a", n: 4 }, { id: "a4" }));
    await s.accept();
    expect(last.state).toBe("resolved");
    expect(ids(s.r)).toEqual(["a1", "a2", "a3", "a4"]);
  });

  it("rule 10: an ordered key is fenced from the start by what an earlier process left, until that is gone", async () => {
    const outbox = memoryOutbox();
    const first = await open({}, outbox);
    await first.settle();
    await outage(first);
    void first.r.publisher.publish(ordered, { key: "a", n: 1 }, { id: "a1" });
    await first.settle();
    await first.r.clock.advance(5_000); // and gives up the lease
    await first.settle();
    const second = await open({}, outbox);
    const a2 = watch(second.r.publisher.publish(ordered, { key: "a", n: 2 }, { id: "a2" }));
    await second.settle();
    await second.accept();
    expect(ids(second.r)).toEqual(["a1", "a2"]);
    expect(a2.state).toBe("resolved");
  });

  it("rule 11: a row that is refused is parked; its key waits behind it, stored, and other keys do not", async () => {
    const s = await open();
    await s.settle();
    await outage(s);
    for (const id of ["a1", "a2", "b1"]) void s.r.publisher.publish(ordered, { key: id.slice(0, 1), n: 1 }, { id });
    await s.settle();
    await heal(s);
    s.r.copies.find((c) => c.message.id === "a1")?.verdict(no("unroutable"));
    await s.accept();
    expect(s.outbox.parked.map((p) => [p.row.message.id, p.code])).toEqual([["a1", "unroutable"]]);
    expect(s.r.publisher.live).toBe(0);
    const a3 = watch(s.r.publisher.publish(ordered, { key: "a", n: 3 }, { id: "a3" }));
    await s.settle();
    expect(a3.value).toMatchObject({ state: "stored" });
    expect(s.r.count("parked")).toBe(1);
    // Nothing of the key passes the parked one, though a2 was taken from the store together with it.
    await s.accept();
    expect(ids(s.r)).toEqual(["a1", "b1"]);
    expect(s.outbox.rows.map((row) => row.message.id)).toEqual(["a2", "a3"]);
  });
});

describe("the relay", () => {
  it("stores first where the topic says so, and sends from there", async () => {
    const always = topic<Order>("always", { outbox: "always" });
    const s = await open();
    await s.settle();
    const seen = watch(s.r.publisher.publish(always, { key: "a", n: 1 }, { id: "m1" }));
    await s.settle();
    expect(seen.value).toMatchObject({ state: "stored" });
    await s.r.clock.advance(1_000);
    await s.accept();
    expect(ids(s.r)).toEqual(["m1"]);
    expect(s.outbox.rows).toHaveLength(0);
  });

  it("goes on with rows that come while others have no verdict yet", async () => {
    const always = topic<Order>("always", { outbox: "always" });
    const s = await open();
    await s.settle();
    for (const n of [1, 2]) {
      void s.r.publisher.publish(always, { key: "a", n }, { id: `m${n}` });
      await s.settle();
    }
    expect(ids(s.r)).toEqual(["m1", "m2"]);
  });

  it("rule 11: one relay among all who share the store; another takes over when its session is unusable for 5 s, and nothing is lost", async () => {
    const outbox = memoryOutbox();
    const one = await open({}, outbox);
    const two = await open({}, outbox);
    await one.settle();
    await two.settle();
    await outage(one);
    for (const n of [1, 2, 3]) void one.r.publisher.publish(plain, { key: "a", n }, { id: `m${n}` });
    await one.settle();
    // The holder's session has been unusable for five seconds: it gives the lease up, and the other one's is healthy.
    await one.r.clock.advance(5_000);
    await one.settle();
    await two.r.clock.advance(1_000);
    await two.accept();
    expect(ids(two.r)).toEqual(["m1", "m2", "m3"]);
    expect(outbox.rows).toHaveLength(0);
    // Who relays says so, and when it is over.
    expect([one.r.count("relay-started"), one.r.count("relay-stopped")]).toEqual([1, 1]);
    expect([two.r.count("relay-started"), two.r.count("relay-stopped")]).toEqual([1, 0]);
  });

  it("whose lease is taken away sends nothing more by it, and asks again", async () => {
    const s = await open();
    await s.settle();
    await outage(s);
    for (const n of [1, 2]) void s.r.publisher.publish(plain, { key: "a", n }, { id: `m${n}` });
    await s.settle();
    await heal(s);
    s.outbox.stealLease();
    await s.accept();
    await s.r.clock.advance(2_000);
    await s.accept();
    // What was accepted under the old lease is sent once more under the new one: the same ids.
    expect(new Set(ids(s.r))).toEqual(new Set(["m1", "m2"]));
    expect(s.outbox.rows).toHaveLength(0);
  });

  it("a close stores what has not come to its end, and leaves no timer", async () => {
    const s = await open({ confirmTimeout: "60s" });
    await s.settle();
    const sent = watch(s.r.publisher.publish(ordered, { key: "a", n: 1 }, { id: "a1" }));
    const behind = watch(s.r.publisher.publish(ordered, { key: "a", n: 2 }, { id: "a2" }));
    await s.settle();
    const closed = watch(s.r.publisher.close(2_000));
    await s.r.clock.advance(2_010);
    await s.settle();
    await s.r.clock.advance(2_000);
    await s.settle();
    expect([sent.value, behind.value]).toMatchObject([{ state: "stored" }, { state: "stored" }]);
    expect(s.outbox.rows.map((row) => [row.message.id, row.doubtful])).toEqual([
      ["a1", true],
      ["a2", false],
    ]);
    expect(closed).toMatchObject({ state: "resolved", value: 0 });
    expect(s.r.clock.pending()).toBe(0);
  });
});
