import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytes } from "../../src/codec.ts";
import { TallyError } from "../../src/error.ts";
import { type Admitted, Window } from "../../src/publish/window.ts";
import { topic } from "../../src/topic.ts";
import { accepted, no, rig, watch } from "../support/scripted-transport.ts";

interface Waiter extends Admitted {
  readonly n: number;
}
const waiter = (n: number, size: number): Waiter => ({ n, bytes: size, queue: null, ahead: null, behind: null });

const raw = topic<Uint8Array>("raw", { codec: bytes });

describe("the window", () => {
  it("never holds more than its count and bytes, lets in in the order of asking, and forgets nobody", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(
          fc.record({
            bytes: fc.integer({ min: 0, max: 120 }),
            leaves: fc.integer({ min: 0, max: 3 }),
            givesUp: fc.option(fc.nat(60)),
          }),
          { maxLength: 60 },
        ),
        (most, steps) => {
          const inside: Waiter[] = [];
          const order: number[] = [];
          const gone = new Set<number>();
          const window = new Window<Waiter>(most, 100, (who) => {
            inside.push(who);
            order.push(who.n);
            const held = inside.reduce((sum, w) => sum + w.bytes, 0);
            expect(inside.length).toBeLessThanOrEqual(most);
            if (inside.length > 1) expect(held).toBeLessThanOrEqual(100);
          });
          const leave = (): void => {
            const first = inside.shift();
            if (first !== undefined) window.leave(first.bytes);
          };
          const all = steps.map((step, n) => waiter(n, step.bytes));
          for (const [n, step] of steps.entries()) {
            window.enter(all[n]!);
            const leaver = all[step.givesUp ?? -1];
            if (leaver !== undefined && leaver.queue !== null) {
              gone.add(leaver.n);
              window.giveUp(leaver);
            }
            for (let i = 0; i < step.leaves; i++) leave();
          }
          while (inside.length > 0) leave();
          expect(order).toEqual(steps.map((_, n) => n).filter((n) => !gone.has(n)));
          expect(window.inside).toBe(0);
        },
      ),
    );
  });

  it("lets in whoever stands behind a large one that gives up", () => {
    const entered: number[] = [];
    const window = new Window<Waiter>(5, 100, ({ n }) => void entered.push(n));
    const all = [60, 80, 10].map((size, n) => waiter(n, size));
    for (const who of all) window.enter(who);
    expect(entered).toEqual([0]);
    window.giveUp(all[1]!);
    expect(entered).toEqual([0, 2]);
  });

  it("makes publish() wait at the bound, in count and in bytes", async () => {
    for (const bound of [{ window: 2 }, { windowBytes: 2_048 }]) {
      const r = rig(bound);
      const all = [1, 2, 3].map((n) => watch(r.publisher.publish(raw, new Uint8Array(1_000), { id: `r${n}` })));
      await r.clock.advance(0);
      expect(r.copies.map((c) => c.message.id)).toEqual(["r1", "r2"]);
      r.copies[1]?.verdict(accepted);
      await r.clock.advance(0);
      expect(r.copies.map((c) => c.message.id)).toEqual(["r1", "r2", "r3"]);
      expect(all.map((p) => p.state)).toEqual(["pending", "resolved", "pending"]);
    }
  });

  it("a waiting caller obeys its signal and its deadline, definitely", async () => {
    const r = rig({ window: 1 });
    const abort = new AbortController();
    void r.publisher.publish(raw, new Uint8Array(1), { id: "r1" });
    const byAbort = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r2", signal: abort.signal }));
    const byDeadline = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r3", deadline: "2s" }));
    const last = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r4" }));
    await r.clock.advance(0);
    abort.abort(new Error("the request is gone"));
    await r.clock.advance(2_020);
    expect(byAbort).toMatchObject({ state: "rejected", error: { code: "aborted", mayArrive: false } });
    expect(byDeadline).toMatchObject({ state: "rejected", error: { code: "deadline", mayArrive: false } });
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["r1", "r4"]);
    expect(last.state).toBe("pending");
  });

  it("keeps the place of a message whose caller is gone until its copy has a verdict", async () => {
    const r = rig({ window: 1 });
    const abort = new AbortController();
    const gone = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r1", signal: abort.signal }));
    void r.publisher.publish(raw, new Uint8Array(1), { id: "r2" });
    await r.clock.advance(0);
    abort.abort();
    await r.clock.advance(0);
    expect(gone).toMatchObject({ state: "rejected", error: { code: "aborted", mayArrive: true } });
    expect(r.copies).toHaveLength(1);
    r.copies[0]?.verdict(no("doubt"));
    await r.clock.advance(0);
    // Unordered and unwanted: not sent again.
    expect(r.copies.map((c) => c.message.id)).toEqual(["r1", "r2"]);
  });

  it("takes no signal that has fired already, and leaves no listener on one that has not", async () => {
    const r = rig();
    const fired = watch(r.publisher.publish(raw, new Uint8Array(1), { signal: AbortSignal.abort() }));
    await r.clock.advance(0);
    expect(fired).toMatchObject({ state: "rejected", error: { code: "aborted", mayArrive: false } });
    const abort = new AbortController();
    let listeners = 0;
    const { signal } = abort;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
    signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
    void r.publisher.publish(raw, new Uint8Array(1), { signal });
    await r.clock.advance(0);
    expect(listeners).toBe(1);
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(listeners).toBe(0);
  });
});

describe("the same id twice at once", () => {
  it("rule 4: the same id twice at once joins the first call when the body is the same: one message, two receipts", async () => {
    const r = rig();
    const all = [1, 2].map(() => r.publisher.publish(raw, new Uint8Array([1, 2]), { id: "r1" }));
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(1);
    r.copies[0]?.verdict(accepted);
    expect((await Promise.all(all)).map((receipt) => receipt.id)).toEqual(["r1", "r1"]);
    expect(r.count("joined")).toBe(1);
  });

  it("rule 4: the same id twice at once is a conflict when the body or the key is another", async () => {
    const r = rig();
    void r.publisher.publish(raw, new Uint8Array([1, 2]), { id: "r1" });
    const bodies = watch(r.publisher.publish(raw, new Uint8Array([1, 3]), { id: "r1" }));
    const keys = watch(r.publisher.publish(raw, new Uint8Array([1, 2]), { id: "r1", key: "k" }));
    await r.clock.advance(0);
    for (const seen of [bodies, keys])
      expect(seen).toMatchObject({ state: "rejected", error: { code: "conflict", id: "r1", mayArrive: false } });
    expect(r.copies).toHaveLength(1);
  });

  it("is another message on another topic, and after the first has ended", async () => {
    const r = rig();
    void r.publisher.publish(raw, new Uint8Array([1]), { id: "r1" });
    void r.publisher.publish(topic<Uint8Array>("other", { codec: bytes }), new Uint8Array([2]), { id: "r1" });
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(2);
    for (const copy of r.copies.slice()) copy.verdict(accepted);
    void r.publisher.publish(raw, new Uint8Array([3]), { id: "r1" });
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(3);
  });

  it("takes up a message whose caller has gone, so that no two copies of one id are ever open side by side", async () => {
    const r = rig();
    const first = watch(r.publisher.publish(raw, new Uint8Array([1]), { id: "r1", deadline: "1s" }));
    await r.clock.advance(1_020);
    expect(first.state).toBe("rejected");
    const second = watch(r.publisher.publish(raw, new Uint8Array([1]), { id: "r1" }));
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(1);
    r.copies[0]?.verdict(no("doubt"));
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(2);
    r.copies[1]?.verdict(accepted);
    await r.clock.advance(0);
    expect(second.state).toBe("resolved");
  });

  it("a joined caller gives up by itself; the message goes on for the first", async () => {
    const r = rig();
    const abort = new AbortController();
    const first = watch(r.publisher.publish(raw, new Uint8Array([1]), { id: "r1" }));
    const joined = watch(r.publisher.publish(raw, new Uint8Array([1]), { id: "r1", signal: abort.signal }));
    await r.clock.advance(0);
    abort.abort();
    await r.clock.advance(0);
    expect(joined).toMatchObject({ state: "rejected", error: { code: "aborted", mayArrive: true } });
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(first.state).toBe("resolved");
  });
});

describe("close", () => {
  it("refuses new messages, drains the window, and leaves no timer", async () => {
    const r = rig();
    const done = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r1" }));
    await r.clock.advance(0);
    const closed = watch(r.publisher.close(5_000));
    const late = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r2" }));
    await r.clock.advance(0);
    expect(late).toMatchObject({ state: "rejected", error: { code: "closed", mayArrive: false } });
    expect(closed.state).toBe("pending");
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(done.state).toBe("resolved");
    expect(closed).toMatchObject({ state: "resolved", value: 0 });
    expect(r.sessions.every((s) => s.disposed)).toBe(true);
    expect(r.clock.pending()).toBe(0);
  });

  it("at its limit rejects the rest, and says of each whether it may arrive", async () => {
    const r = rig({ window: 1 });
    const sent = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r1" }));
    const unsent = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r2" }));
    await r.clock.advance(0);
    const closed = watch(r.publisher.close(5_000));
    await r.clock.advance(5_010);
    expect(sent).toMatchObject({ state: "rejected", error: { code: "closed", mayArrive: true } });
    expect(unsent).toMatchObject({ state: "rejected", error: { code: "closed", mayArrive: false } });
    expect(closed).toMatchObject({ state: "resolved", value: 2 });
    expect(r.clock.pending()).toBe(0);
  });

  it("ends the tries to connect", async () => {
    const r = rig();
    r.away = new TallyError("unreachable", "away", { retryable: true });
    const waiting = watch(r.publisher.publish(raw, new Uint8Array(1), { id: "r1" }));
    await r.clock.advance(3_000);
    const closed = watch(r.publisher.close(1_000));
    await r.clock.advance(1_010);
    expect(waiting).toMatchObject({ state: "rejected", error: { code: "closed", mayArrive: false } });
    expect(closed.state).toBe("resolved");
    expect(r.clock.pending()).toBe(0);
  });
});
