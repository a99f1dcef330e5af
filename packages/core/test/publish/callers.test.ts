// One message and those who wait for it: joining, adopting, giving up, each by its own deadline and signal.
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { StandardSchema } from "../../src/schema.ts";
import { topic } from "../../src/topic.ts";
import { accepted, away, nack, no, rig, watch } from "../support/scripted-transport.ts";

const plain = topic<string>("plain");
const ordered = topic<string>("ordered", { key: (key) => key, ordered: true });

describe("callers of one id", () => {
  it("each keeps its own deadline, whoever came first", async () => {
    for (const [first, second] of [
      ["2s", "5s"],
      ["5s", "2s"],
    ] as const) {
      const r = rig();
      const calls: ReturnType<typeof watch>[] = [];
      for (const deadline of [first, second]) {
        calls.push(watch(r.publisher.publish(plain, "a", { id: "p1", deadline })));
        await r.clock.advance(0);
      }
      const patient = watch(r.publisher.publish(plain, "a", { id: "p1", deadline: "60s" }));
      const [early, late] = first === "2s" ? calls : calls.toReversed();
      await r.clock.advance(2_020);
      expect(early).toMatchObject({ state: "rejected", error: { code: "deadline", mayArrive: true } });
      expect([late?.state, patient.state]).toEqual(["pending", "pending"]);
      await r.clock.advance(3_000);
      expect(late).toMatchObject({ state: "rejected", error: { code: "deadline", mayArrive: true } });
      r.copies[0]?.verdict(accepted);
      await r.clock.advance(0);
      expect(patient.state).toBe("resolved");
      expect([r.publisher.live, r.count("rejected")]).toEqual([0, 2]);
    }
  });

  it("give up in the order of their deadlines, however many they are", async () => {
    const r = rig();
    const order: number[] = [];
    for (const seconds of [9, 7, 8, 3, 5]) {
      r.publisher.publish(plain, "a", { id: "p1", deadline: seconds * 1_000 }).catch(() => order.push(seconds));
      await r.clock.advance(0);
    }
    for (let i = 0; i < 10; i++) {
      await r.clock.advance(1_000);
      expect(order.every((seconds) => seconds * 1_000 <= r.clock.now())).toBe(true);
    }
    expect(order).toEqual([3, 5, 7, 8, 9]);
  });

  it("the first one's abort does not withdraw what the others wait for", async () => {
    const r = rig({ window: 1 });
    void r.publisher.publish(plain, "x", { id: "p0" });
    const abort = new AbortController();
    const first = watch(r.publisher.publish(plain, "a", { id: "p1", signal: abort.signal }));
    const second = watch(r.publisher.publish(plain, "a", { id: "p1" }));
    await r.clock.advance(0);
    abort.abort();
    await r.clock.advance(0);
    expect(first).toMatchObject({ state: "rejected", error: { code: "aborted", mayArrive: true } });
    expect(second.state).toBe("pending");
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    r.copies[1]?.verdict(accepted);
    await r.clock.advance(0);
    expect(second.state).toBe("resolved");
  });

  it("all get the definite no", async () => {
    const r = rig();
    const calls = [1, 2].map(() => watch(r.publisher.publish(plain, "a", { id: "p1" })));
    await r.clock.advance(0);
    r.copies[0]?.verdict(no("unroutable"));
    await r.clock.advance(0);
    for (const call of calls)
      expect(call).toMatchObject({ state: "rejected", error: { code: "unroutable", mayArrive: false } });
    expect(r.count("rejected")).toBe(2);
  });

  it("the deadline of whoever takes over counts, also when the first one's signal made room", async () => {
    const r = rig({ confirmTimeout: "1h" });
    const abort = new AbortController();
    watch(r.publisher.publish(plain, "a", { id: "p1", signal: abort.signal, deadline: "1s" }));
    const other = watch(r.publisher.publish(plain, "a", { id: "p1", deadline: "3s" }));
    await r.clock.advance(0);
    abort.abort();
    await r.clock.advance(2_900);
    expect(other.state).toBe("pending");
    await r.clock.advance(150);
    expect(other).toMatchObject({ error: { code: "deadline" } });
  });

  it("the last one to go withdraws the message", async () => {
    const r = rig();
    r.away = away;
    const aborts = [new AbortController(), new AbortController()];
    const calls = aborts.map(({ signal }) => watch(r.publisher.publish(plain, "a", { id: "p1", signal })));
    aborts[1]?.abort();
    aborts[0]?.abort();
    await r.clock.advance(0);
    expect(calls.map((c) => c.error?.mayArrive)).toEqual([false, true]);
    expect(r.publisher.live).toBe(0);
  });

  it("leave no listener on their signals, however they end", async () => {
    const r = rig();
    const aborts = [new AbortController(), new AbortController()];
    let listeners = 0;
    for (const { signal } of aborts) {
      const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
      signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
      signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
    }
    for (const { signal } of aborts)
      for (const deadline of ["1s", "1h"] as const)
        watch(r.publisher.publish(plain, "a", { id: "p1", signal, deadline }));
    await r.clock.advance(1_020);
    expect(listeners).toBe(2);
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(listeners).toBe(0);
  });

  it("a call that joins has its own validation left over, and nothing goes unhandled", async () => {
    const unhandled: unknown[] = [];
    const on = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", on);
    let calls = 0;
    const flaky: StandardSchema<string> = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: async (value) =>
          calls++ === 0 ? { value: value as string } : Promise.reject(new Error("the second look-up failed")),
      },
    };
    const r = rig();
    const validated = topic("validated", { schema: flaky });
    for (let i = 0; i < 2; i++) watch(r.publisher.publish(validated, "a", { id: "v1" }));
    await r.clock.advance(10);
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(10);
    process.off("unhandledRejection", on);
    expect(unhandled).toEqual([]);
  });
});

describe("a schema", () => {
  it("that answers with a promise of another realm is waited for, not taken for a yes", async () => {
    const Elsewhere = runInNewContext("Promise") as PromiseConstructor;
    const foreign: StandardSchema<string> = {
      "~standard": { version: 1, vendor: "test", validate: () => Elsewhere.resolve({ issues: [{ message: "no" }] }) },
    };
    const r = rig();
    const seen = watch(r.publisher.publish(topic("validated", { schema: foreign }), "a", { id: "v1" }));
    await r.clock.advance(0);
    expect(seen).toMatchObject({ state: "rejected", error: { code: "schema", mayArrive: false } });
    expect(r.copies).toHaveLength(0);
  });

  it("that throws later rejects the message as bad; one that never answers ends at the deadline, and frees its key", async () => {
    for (const [validate, code] of [
      [() => Promise.reject(new Error("the look-up failed")), "bad-message"],
      [() => new Promise<never>(() => {}), "deadline"],
    ] as const) {
      const r = rig();
      let first = true;
      const schema: StandardSchema<string> = {
        "~standard": {
          version: 1,
          vendor: "test",
          validate: (value) => (first ? ((first = false), validate()) : { value: value as string }),
        },
      };
      const validated = topic("validated", { schema, key: (key) => key, ordered: true });
      const bad = watch(r.publisher.publish(validated, "a", { id: "v1", deadline: "1s" }));
      void r.publisher.publish(validated, "a", { id: "v2" });
      await r.clock.advance(1_020);
      expect(bad).toMatchObject({ state: "rejected", error: { code, mayArrive: false, id: "v1" } });
      expect(r.copies.map((c) => c.message.id)).toEqual(["v2"]);
    }
  });
});

describe("a full window", () => {
  it("keeps out what has been validated meanwhile", async () => {
    const soon: StandardSchema<string> = {
      "~standard": { version: 1, vendor: "test", validate: async (value) => ({ value: value as string }) },
    };
    const r = rig({ window: 1 });
    void r.publisher.publish(plain, "a", { id: "p1" });
    void r.publisher.publish(topic("validated", { schema: soon }), "a", { id: "v1" });
    await r.clock.advance(100);
    expect(r.copies.map((c) => c.message.id)).toEqual(["p1"]);
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["p1", "v1"]);
  });
});

describe("a listener may publish", () => {
  it("the same id in the very event that ends it: it is sent anew, once", async () => {
    for (const [end, again] of [
      [(r: ReturnType<typeof rig>) => r.copies[0]?.verdict(no("refused")), "rejected"],
      [(r: ReturnType<typeof rig>) => void r.clock.advance(1_020), "rejected"],
      [(r: ReturnType<typeof rig>) => r.copies[0]?.verdict(accepted), "late-verdict"],
    ] as const) {
      for (const into of [plain, ordered]) {
        const r = rig();
        watch(r.publisher.publish(into, "a", { id: "p1", deadline: "1s" }));
        await r.clock.advance(0);
        if (again === "late-verdict") await r.clock.advance(1_020);
        let second: ReturnType<typeof watch> | null = null;
        let thrown: unknown = null;
        r.listener = (event) => {
          if (event.type !== again || second !== null) return;
          try {
            second = watch(r.publisher.publish(into, "a", { id: "p1" }));
          } catch (error) {
            thrown = error;
          }
        };
        end(r);
        await r.clock.advance(1_020);
        expect(thrown).toBe(null);
        for (const session of r.sessions) for (const copy of session.open) copy.verdict(accepted);
        await r.clock.advance(0);
        expect(second, `${again} ${into.name}`).toMatchObject({ state: "resolved" });
        expect(r.publisher.live).toBe(0);
      }
    }
  });

  it("or abort others of the same signal, which end once", async () => {
    const r = rig();
    const abort = new AbortController();
    const all = ["p1", "p2", "p3"].map((id) => watch(r.publisher.publish(plain, "a", { id, signal: abort.signal })));
    await r.clock.advance(0);
    r.listener = (event) => {
      if (event.type === "rejected") for (const copy of r.sessions[0]?.open ?? []) copy.verdict(accepted);
    };
    abort.abort();
    await r.clock.advance(0);
    expect(all.map((p) => p.state)).toEqual(["rejected", "resolved", "resolved"]);
    expect(r.publisher.live).toBe(0);
  });
});

describe("while publishing closes", () => {
  it("an ordered message in doubt whose caller gives up still keeps its place", async () => {
    const r = rig({ resendMin: "2s", resendMax: "2s" });
    const abort = new AbortController();
    watch(r.publisher.publish(ordered, "a", { id: "o1", signal: abort.signal }));
    watch(r.publisher.publish(ordered, "a", { id: "o2" }));
    await r.clock.advance(0);
    r.copies[0]?.verdict(no("doubt"));
    await r.clock.advance(0);
    r.copies[1]?.verdict(nack(500));
    const closed = watch(r.publisher.close(10_000));
    abort.abort();
    await r.clock.advance(3_000);
    expect(r.copies.map((c) => c.message.id)).toEqual(["o1", "o1", "o1"]);
    r.copies[2]?.verdict(accepted);
    await r.clock.advance(0);
    r.copies[3]?.verdict(accepted);
    await r.clock.advance(0);
    expect(closed).toMatchObject({ state: "resolved", value: 0 });
  });

  it("the limit abandons what was carried in the background too, sends nothing more, and leaves no timer", async () => {
    for (const state of ["wire", "doubt", "back-off"]) {
      const r = rig({ resendMin: "20s", resendMax: "20s" });
      watch(r.publisher.publish(ordered, "a", { id: "o1", deadline: "1s" }));
      const o2 = watch(r.publisher.publish(ordered, "a", { id: "o2" }));
      await r.clock.advance(0);
      if (state !== "wire") r.copies[0]?.verdict(no("doubt"));
      await r.clock.advance(0);
      if (state === "back-off") r.copies[1]?.verdict(nack(20_000));
      await r.clock.advance(1_020);
      const sent = r.copies.length;
      const closed = watch(r.publisher.close(1_000));
      await r.clock.advance(1_010);
      expect(o2, state).toMatchObject({ state: "rejected", error: { code: "closed", mayArrive: false } });
      expect(closed, state).toMatchObject({ state: "resolved", value: 2 });
      await r.clock.advance(60_000);
      expect(r.copies.length, state).toBe(sent);
      expect(r.clock.pending(), state).toBe(0);
      expect(r.publisher.live, state).toBe(0);
    }
  });

  it("a session that does not leave is waited for until the limit, and a second at least", async () => {
    for (const [within, takes] of [
      [5_000, 5_000],
      [10, 1_000],
    ] as const) {
      const r = rig();
      await r.clock.advance(0);
      r.leaving = new Promise(() => {});
      const closed = watch(r.publisher.close(within));
      await r.clock.advance(takes - 10);
      expect(closed.state).toBe("pending");
      await r.clock.advance(20);
      expect(closed.state).toBe("resolved");
      expect(r.clock.pending()).toBe(0);
    }
  });

  it("all retired sessions that are leaving are waited for", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    watch(r.publisher.publish(plain, "a", { id: "p1" }));
    const gate = Promise.withResolvers<void>();
    await r.clock.runUntil(() => r.copies.length === 2, 11_000);
    r.leaving = gate.promise;
    r.copies[0]?.verdict(accepted);
    r.leaving = null;
    r.copies[1]?.verdict(accepted);
    const closed = watch(r.publisher.close(5_000));
    await r.clock.advance(100);
    expect(r.sessions.map((s) => s.disposed)).toEqual([true, true]);
    expect(closed.state).toBe("pending");
    gate.resolve();
    await r.clock.advance(0);
    expect(closed.state).toBe("resolved");
  });

  it("retired sessions are closed with the one in use", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    watch(r.publisher.publish(plain, "a", { id: "p1" }));
    await r.clock.runUntil(() => r.copies.length === 2, 11_000);
    const closed = watch(r.publisher.close(1_000));
    await r.clock.advance(1_010);
    expect(closed.state).toBe("resolved");
    expect(r.sessions.map((s) => s.disposed)).toEqual([true, true]);
    expect(r.clock.pending()).toBe(0);
  });
});
