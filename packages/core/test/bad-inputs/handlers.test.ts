// Handlers that do what a promise should not: throw anything, never settle, settle twice, take the process with them.
import { describe, expect, it } from "vitest";
import { release, retry } from "../../src/consume/rulings.ts";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { turns, world } from "../support/guarded.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const never = (): Promise<never> => new Promise(() => {});
const fail = (): never => {
  throw new Error("no");
};

describe("throws undefined, a string, a frozen error: wrapped, retried by policy", () => {
  const frozen = Object.freeze(new Error("frozen"));
  it.each([
    ["undefined", undefined],
    ["null", null],
    ["a string", "no"],
    ["a frozen error", frozen],
    ["a TypeError, which p-retry would not retry", new TypeError("x is not a function")],
    ["an object that cannot be shown", { toString: fail }],
    ["an error whose message throws", Object.defineProperty(new Error("x"), "message", { get: fail })],
    ["an error of ours", new TallyError("unroutable", "nowhere")],
  ])("%s", async (_what, thrown) => {
    for (const kind of ["throws", "rejects"]) {
      const b = bench();
      const causes: unknown[] = [];
      await b
        .consumer({
          onError(error, { attempt }) {
            causes.push(error.cause);
            expect(TallyError.is(error)).toBe(true);
            expect(error.code).toBe("handler");
            return attempt < 3 ? retry() : release();
          },
        })
        .on(orders, () => {
          if (kind === "throws") throw thrown as Error;
          return Promise.reject(thrown as Error);
        })
        .start();
      b.receiver.deliver({ id: "m1" });
      await b.clock.advance(60_000);
      expect(causes).toEqual([thrown, thrown, thrown]);
      expect(b.receiver.settled).toEqual(["release m1"]);
    }
  });

  it("in a transaction: nothing of what it wrote is there, and it is retried all the same", async () => {
    const w = world();
    const a = await w.process();
    let runs = 0;
    await a
      .consumer({ effect: "tx", attempts: 3 })
      .on(orders, async (_body, { tx }) => {
        const rows = tx as unknown as { set(name: string, value: unknown): void };
        rows.set(`run ${++runs}`, true);
        if (runs < 3) throw undefined;
      })
      .start();
    a.receiver.deliver({ id: "m1" });
    await w.until(() => a.receiver.settled.length > 0, 60_000);
    expect([runs, [...w.inbox.rows.keys()], a.receiver.settled]).toEqual([3, ["run 3"], ["ack m1"]]);
  });
});

describe("never settles: time-out; with `tx` its late effect is fenced, otherwise surfaced as a late effect", () => {
  it("is timed out, its signal fires, and its message is released; a late end acks nothing and is surfaced", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const reasons: unknown[] = [];
    await b
      .consumer({ processingDeadline: "1m", onError: () => release({ after: 0 }) })
      .on(orders, (_body, { signal }) => {
        signal.addEventListener("abort", () => reasons.push(signal.reason));
        return gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(59_999);
    expect([reasons, b.receiver.settled]).toEqual([[], []]);
    await b.clock.advance(1);
    expect(reasons).toMatchObject([{ code: "handler-deadline", id: "m1" }]);
    expect(b.of("attempt-failed")).toMatchObject([{ id: "m1", error: { code: "handler-deadline" } }]);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("late-effect")).toEqual([]);
    gate.resolve();
    await settle();
    expect(b.of("late-effect")).toMatchObject([{ id: "m1", outcome: "returned" }]);
    expect(b.receiver.settled).toEqual(["release m1"]);
  });

  it("with `tx`: what it writes when another one has had the effect is rolled back, and acks nothing", async () => {
    const w = world();
    const [a, b] = [await w.process(), await w.process()];
    const gate = Promise.withResolvers<void>();
    const write = async (who: string, tx: never): Promise<void> => {
      (tx as { set(name: string, value: unknown): void }).set(`bill by ${who}`, true);
    };
    await a
      .consumer({ effect: "tx", processingDeadline: "1s", onError: () => release({ after: 0 }) })
      .on(orders, async (_body, { tx }: { tx: never }) => {
        await gate.promise;
        await write("the late one", tx);
      })
      .start();
    await b
      .consumer({ effect: "tx" })
      .on(orders, (_body, { tx }: { tx: never }) => write("the next one", tx))
      .start();
    a.receiver.deliver({ id: "m1" });
    await w.until(() => a.receiver.settled.length > 0, 5_000);
    expect(a.receiver.settled).toEqual(["release m1"]);
    expect(a.of("attempt-failed")).toMatchObject([{ error: { code: "handler-deadline" } }]);
    b.receiver.deliver({ id: "m1", count: 2 });
    // Nobody runs beside it before its claim has run out; then the claim is another one's.
    await w.pass(10_000);
    expect(w.inbox.marks).toMatchObject([{ attempts: 1 }]);
    await w.pass(10_000);
    expect(w.inbox.marks).toMatchObject([{ attempts: 2, state: "open" }]);
    gate.resolve();
    await w.until(() => b.receiver.settled.length > 0, 60_000);
    expect([...w.inbox.rows.keys()]).toEqual(["bill by the next one"]);
    expect([a.receiver.settled, b.receiver.settled]).toEqual([["release m1"], ["ack m1"]]);
  });
});

describe("settles twice: no-op, `false` returned", () => {
  it.each<[string, (resolve: () => void, reject: (e: Error) => void) => void]>([
    ["resolves twice", (resolve) => (resolve(), resolve())],
    ["resolves, then rejects", (resolve, reject) => (resolve(), reject(new Error("no")))],
    ["resolves, then throws", (resolve) => (resolve(), fail())],
  ])("a promise of another make that %s: one ack, no failure", async (_what, then) => {
    const b = bench();
    await b
      .consumer()
      // oxlint-disable-next-line unicorn/no-thenable -- a promise of another make is what this is about
      .on(orders, () => ({ then }) as unknown as Promise<void>)
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(60_000);
    expect(b.receiver.settled).toEqual(["ack m1"]);
    expect(b.of("attempt-failed")).toEqual([]);
  });

  it("rejects, then resolves: one failure, no ack", async () => {
    const b = bench();
    const then = (resolve: () => void, reject: (e: Error) => void): void => (reject(new Error("no")), resolve());
    await b
      .consumer({ attempts: 1 })
      // oxlint-disable-next-line unicorn/no-thenable -- a promise of another make is what this is about
      .on(orders, () => ({ then }) as unknown as Promise<void>)
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(60_000);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("attempt-failed")).toHaveLength(1);
  });

  it("a claim that has ended ends no second time: the store says `false`, whatever it is told", async () => {
    const w = world();
    const store = await w.inbox.openInbox({ clock: w.clock, random: {} as never, surfaced: () => {} });
    const [claim] = await store.claim(
      [{ group: "g", topic: "t", producer: "p", id: "m1", bodyHash: 1n, behind: null }],
      1_000,
    );
    if (claim?.state !== "fresh") throw new Error("not fresh");
    expect(await store.end(claim, { is: "done" })).toBe(true);
    for (const outcome of [{ is: "done" }, { is: "failed" }, { is: "dead", reason: "x" }] as const)
      expect(await store.end(claim, outcome)).toBe(false);
    expect(w.inbox.marks).toMatchObject([{ state: "done" }]);
  });
});

describe("kills the process each time (crash poison): counted as started attempts; dead-lettered after the limit", () => {
  it("a message that kills its consumer each time is a dead letter after 16 starts, and never runs again", async () => {
    const w = world();
    let starts = 0;
    for (let n = 1; n <= 16; n++) {
      const p = await w.process();
      await p
        .consumer()
        .on(orders, () => (starts++, never()))
        .start();
      p.receiver.deliver({ id: "poison" });
      await turns();
      p.kill();
      await w.pass(16_000);
    }
    expect(starts).toBe(16);
    const last = await w.process();
    await last
      .consumer()
      .on(orders, () => void starts++)
      .start();
    last.receiver.deliver({ id: "poison" });
    await turns();
    expect(starts).toBe(16);
    expect(last.letters).toMatchObject([{ options: { id: "poison", headers: { "dead-attempts": "16" } } }]);
    expect(last.receiver.settled).toEqual(["ack poison"]);
    expect(w.inbox.marks).toMatchObject([{ state: "dead" }]);
  });

  it("what was merely in hand is not counted", async () => {
    const w = world();
    for (let n = 1; n <= 3; n++) {
      const p = await w.process();
      await p
        .consumer({ lanes: 1, maxAttempts: 3 })
        .on(orders, () => never())
        .start();
      p.receiver.deliver({ id: "poison" }, { id: "innocent" });
      await turns();
      p.kill();
      await w.pass(16_000);
    }
    const last = await w.process();
    const ran: (string | null)[] = [];
    await last
      .consumer({ lanes: 1, maxAttempts: 3 })
      .on(orders, (_body, { id }) => void ran.push(id))
      .start();
    last.receiver.deliver({ id: "poison" }, { id: "innocent" });
    await turns();
    expect(ran).toEqual(["innocent"]);
    expect(last.letters.map(({ options }) => options.id)).toEqual(["poison"]);
    expect(last.receiver.settled.toSorted()).toEqual(["ack innocent", "ack poison"]);
  });
});
