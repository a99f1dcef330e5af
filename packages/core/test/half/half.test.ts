// One thing: half messages in virtual time, from run() to the broker; each run needs the same world of processes.
import { memory } from "@tallymq/testkit";
import { afterEach, describe, expect, it } from "vitest";
import { armFailpoints, type Failpoint } from "../../src/failpoints.ts";
import { type Decision, openTally, TallyError, topic } from "../../src/index.ts";
import { does, halfWorld, killAt, type Order, ordered, plain, turns } from "../support/half-world.ts";
import { watch } from "../support/scripted-transport.ts";

afterEach(() => armFailpoints(null));
const disk = new TallyError("store", "no space left on device", { retryable: true });

describe("run()", () => {
  it("rule 24: stores first, then works, then sends what its work committed", async () => {
    const w = halfWorld();
    const p = await w.process();
    const gate = Promise.withResolvers<Decision>();
    const run = watch(
      p.half.run(
        { n: 1 },
        ({ id, signal }) => {
          expect([id, signal.aborted, w.outbox.halves.map(({ state }) => state)]).toEqual(["m1", false, ["undecided"]]);
          return gate.promise;
        },
        { id: "m1" },
      ),
    );
    await w.pass(5_000);
    expect([run.state, w.sent(), w.outbox.rows.length]).toEqual(["pending", [], 0]);
    gate.resolve("commit");
    await w.pass(1_000);
    expect(run.value).toMatchObject({ id: "m1", decision: "commit", receipt: { id: "m1", state: "stored" } });
    expect([w.sent(), w.outbox.rows.length, w.outbox.halves.map(({ state }) => state)]).toEqual([
      ["m1"],
      0,
      ["released"],
    ]);
    expect(p.of("half-prepared")).toMatchObject([{ name: "payment", topic: "plain", id: "m1" }]);
    expect(p.of("half-decided")).toMatchObject([{ id: "m1", decision: "commit", by: "work" }]);
  });

  it("rollback, and a work that throws: nothing is sent, the error is the work's own", async () => {
    const w = halfWorld();
    const p = await w.process();
    const thrown = new Error("declined");
    const back = watch(p.half.run({ n: 1 }, () => "rollback", { id: "m1" }));
    const failed = watch(
      p.half.run(
        { n: 2 },
        () => {
          throw thrown;
        },
        { id: "m2" },
      ),
    );
    await w.pass(60_000);
    expect(back.value).toEqual({ id: "m1", decision: "rollback", receipt: null });
    expect(failed.error).toBe(thrown);
    expect(w.outbox.halves.map(({ state }) => state)).toEqual(["rolledBack", "rolledBack"]);
    expect([w.sent(), p.asked]).toEqual([[], []]);
  });

  it("a work that does not know is left to check", async () => {
    const w = halfWorld();
    const p = await w.process(() => "commit");
    const run = watch(p.half.run({ n: 1 }, () => "unknown", { id: "m1" }));
    await w.pass(900);
    expect([run.value, w.sent()]).toEqual([{ id: "m1", decision: "unknown", receipt: null }, []]);
    await w.pass(3_000);
    expect([p.asked, w.sent()]).toEqual([[{ n: 1 }], ["m1"]]);
    expect(p.of("half-decided")).toMatchObject([{ decision: "commit", by: "check" }]);
  });

  it("a work that says nothing of use may have been done: its caller is told, and check is asked", async () => {
    const w = halfWorld();
    const p = await w.process(() => "commit");
    const run = watch(p.half.run({ n: 1 }, (() => undefined) as never, { id: "m1" }));
    await w.pass(5_000);
    expect(run.error).toMatchObject({ code: "handler", id: "m1", mayArrive: true });
    expect(w.sent()).toEqual(["m1"]);
  });

  it("a work that takes longer than the lease keeps it, and nobody checks meanwhile", async () => {
    const w = halfWorld();
    const [a, b] = [await w.process(), await w.process()];
    const gate = Promise.withResolvers<Decision>();
    const run = watch(a.half.run({ n: 1 }, () => gate.promise, { id: "m1" }));
    await w.pass(120_000);
    expect([a.asked, b.asked, run.state]).toEqual([[], [], "pending"]);
    gate.resolve("commit");
    await w.pass(1_000);
    expect([run.value?.decision, w.sent()]).toEqual(["commit", ["m1"]]);
  });
});

describe("one id is one half message with one decision", () => {
  it("twice at once: one work, one answer; another body is a conflict", async () => {
    const w = halfWorld();
    const p = await w.process();
    const done = new Set<string>();
    let works = 0;
    const work = async (about: { readonly id: string }): Promise<Decision> => {
      works++;
      await turns();
      return does(done)(about);
    };
    const both = [1, 2].map(() => watch(p.half.run({ n: 1 }, work, { id: "m1" })));
    const other = watch(p.half.run({ n: 9 }, work, { id: "m1" }));
    await w.pass(1_000);
    expect([works, both.map((run) => run.value?.decision)]).toEqual([1, ["commit", "commit"]]);
    expect(other.error).toMatchObject({ code: "conflict", id: "m1" });
    const later = watch(p.half.run({ n: 9 }, work, { id: "m1" }));
    await w.pass(1_000);
    expect(later.error).toMatchObject({ code: "conflict", id: "m1" });
    expect([works, w.sent()]).toEqual([1, ["m1"]]);
  });

  it("rule 24: again after its end: answered from the record, without work, whatever it says now", async () => {
    const w = halfWorld();
    const p = await w.process();
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await p.half.run({ n: 2 }, () => "rollback", { id: "m2" });
    await w.pass(86_400_000, 3_600_000);
    let works = 0;
    const again = ["m1", "m2"].map((id, i) => watch(p.half.run({ n: i + 1 }, () => (works++, "commit"), { id })));
    await w.pass(1_000);
    expect([works, again.map((run) => run.value?.decision)]).toEqual([0, ["commit", "rollback"]]);
    expect(w.sent()).toEqual(["m1"]);
  });

  it("undecided, of a process that died: check is asked, and the work is not done again", async () => {
    const w = halfWorld();
    const a = await w.process();
    void a.half.run({ n: 1 }, () => new Promise<Decision>(() => {}), { id: "m1" });
    await turns();
    a.kill();
    const b = await w.process(() => "commit");
    let works = 0;
    const again = watch(b.half.run({ n: 1 }, () => (works++, "commit"), { id: "m1" }));
    await w.pass(14_000);
    expect([again.state, b.asked]).toEqual(["pending", []]);
    await w.pass(3_000);
    expect([again.value?.decision, works, b.asked.length, w.sent()]).toEqual(["commit", 0, 1, ["m1"]]);
  });

  it("one that another process is at is waited for, up to the deadline", async () => {
    const w = halfWorld();
    const [a, b] = [await w.process(), await w.process()];
    const gate = Promise.withResolvers<Decision>();
    void a.half.run({ n: 1 }, () => gate.promise, { id: "m1" });
    await turns();
    const short = watch(b.half.run({ n: 1 }, () => "rollback", { id: "m1", deadline: "10s" }));
    await w.pass(11_000);
    expect(short.error).toMatchObject({
      code: "deadline",
      id: "m1",
      retryable: true,
      message: "[deadline] another process is at m1",
    });
    const long = watch(b.half.run({ n: 1 }, () => "rollback", { id: "m1" }));
    await w.pass(1_000);
    gate.resolve("commit");
    await w.pass(20_000);
    expect([long.value?.decision, w.sent()]).toEqual(["commit", ["m1"]]);
  });
});

describe("kill -9 at each point", () => {
  const points: readonly Failpoint[] = ["half.prepared", "half.worked", "half.decided", "half.released"];
  const cases = points.flatMap((point) =>
    [plain, ordered].flatMap((of) =>
      (["commit", "rollback"] as const)
        // What is of no order becomes a row with its decision.
        .filter((says) => point !== "half.released" || (of === ordered && says === "commit"))
        .map((says) => [point, of.name, of, says] as const),
    ),
  );
  it.each(cases)(
    "rule 24: killed at %s of %s: the message is sent if the work was done, and not otherwise",
    async (point, _name, of, says) => {
      const w = halfWorld();
      const done = new Set<string>();
      const a = await w.process(undefined, { topic: of });
      killAt(point, a.kill);
      void a.half.run({ n: 1 }, (about) => (says === "commit" ? does(done)(about) : "rollback"), { id: "m1" });
      await w.pass(2_000);
      expect(w.sent(of)).toEqual([]);
      // The successor knows `check`, which looks at what was done; the caller of the first one has had no answer.
      const b = await w.process((_body, { id }) => (done.has(id) ? "commit" : "rollback"), { topic: of });
      await w.pass(30_000);
      expect(done.has("m1")).toBe(says === "commit" && point !== "half.prepared");
      expect(w.sent(of)).toEqual(done.has("m1") ? ["m1"] : []);
      expect(b.asked.length).toBe(point === "half.prepared" || point === "half.worked" ? 1 : 0);
      expect(w.outbox.halves.map(({ state }) => state)).toEqual([done.has("m1") ? "released" : "rolledBack"]);
      // And the same call, made again, is answered from the record.
      const again = watch(b.half.run({ n: 1 }, () => "unknown", { id: "m1" }));
      await w.pass(1_000);
      expect(again.value?.decision).toBe(done.has("m1") ? "commit" : "rollback");
      expect(w.sent(of)).toHaveLength(done.size);
    },
  );
});

describe("check", () => {
  it("rule 24: waits for the lease of the one that died, and one process alone asks", async () => {
    const w = halfWorld();
    const a = await w.process();
    void a.half.run({ n: 1 }, () => new Promise<Decision>(() => {}), { id: "m1" });
    await turns();
    a.kill();
    const gate = Promise.withResolvers<Decision>();
    const others = [await w.process(() => gate.promise), await w.process(() => gate.promise)];
    await w.pass(14_000);
    expect(others.map((p) => p.asked.length)).toEqual([0, 0]);
    await w.pass(10_000);
    expect(others.flatMap((p) => p.asked)).toEqual([{ n: 1 }]);
    gate.resolve("rollback");
    await w.pass(60_000);
    expect(others.flatMap((p) => p.asked)).toHaveLength(1);
    expect(w.outbox.halves.map(({ state }) => state)).toEqual(["rolledBack"]);
  });

  it("rule 24: that is unknown, throws, hangs or talks nonsense is asked again, with back-off; then it is parked, surfaced, for a person", async () => {
    const w = halfWorld();
    const answers: (() => unknown)[] = [
      () => "unknown",
      () => {
        throw new Error("the database is away");
      },
      () => new Promise(() => {}),
      () => "yes",
    ];
    const times: number[] = [];
    const p = await w.process(
      (() => {
        times.push(w.clock.now());
        return (answers[times.length - 1] ?? answers[0]!)();
      }) as never,
      { maxChecks: 6, maxAge: "2m", checkMax: "40s" },
    );
    await p.half.run({ n: 1 }, () => "unknown", { id: "m1", key: "k1" });
    await w.pass(600_000);
    const waits = times.slice(1).map((at, i) => at - times[i]!);
    // 1, 2, 4 (after 15 s of silence), 8, 16, 32, 40: in looks of a second each.
    for (const [i, ms] of [1_000, 2_000, 19_000, 8_000, 16_000, 32_000, 40_000].entries())
      expect([i, (waits[i] ?? 0) >= ms && (waits[i] ?? 0) <= ms + 1_300]).toEqual([i, true]);
    expect(times).toHaveLength(9); // at the eighth it is not two minutes old
    expect(p.of("half-checked").map(({ answer, error }) => [answer, error !== null])).toEqual([
      ["unknown", false],
      ["unknown", true],
      ["unknown", true],
      ["unknown", true],
      ...Array.from({ length: 5 }, () => ["unknown", false]),
    ]);
    expect(p.of("half-parked")).toMatchObject([{ name: "payment", id: "m1", checks: 9 }]);
    expect(await p.half.undecided()).toMatchObject([
      { id: "m1", key: "k1", checks: 9, reason: "checked 9 times without a decision" },
    ]);
    expect(await p.half.decide("m1", "commit")).toBe("commit");
    expect(await p.half.decide("m1", "rollback")).toBe("commit");
    expect(await p.half.decide("m2", "rollback")).toBe(null);
    await w.pass(1_000);
    expect([w.sent(), await p.half.undecided()]).toEqual([["m1"], []]);
    expect(p.of("half-decided")).toMatchObject([{ decision: "commit", by: "person" }]);
  });

  it("a person's commit of an ordered one is sent too, at once, however long it was put off", async () => {
    const w = halfWorld();
    const p = await w.process(undefined, { topic: ordered, checkMin: "5m", checkMax: "5m" });
    await p.half.run({ n: 1 }, () => "unknown", { id: "m1" });
    expect(await p.half.decide("m1", "commit")).toBe("commit");
    await w.pass(2_000);
    expect(w.sent(ordered)).toEqual(["m1"]);
  });

  it("gets the schema's output; a body that it cannot read any more is unknown", async () => {
    const w = halfWorld();
    const a = await w.process();
    void a.half.run({ n: 1 }, () => new Promise<Decision>(() => {}), { id: "m1" });
    await turns();
    a.kill();
    const stricter = topic<Order>("plain", {
      groups: ["billing"],
      schema: {
        "~standard": { version: 1, vendor: "test", validate: () => ({ issues: [{ message: "n must be positive" }] }) },
      },
    } as never);
    const b = await w.process(() => "commit", { topic: stricter as never });
    await w.pass(20_000);
    expect([b.asked, w.sent()]).toEqual([[], []]);
    expect(b.of("half-checked")[0]).toMatchObject({
      answer: "unknown",
      error: expect.stringMatching(/n must be positive/),
    });
    expect(w.outbox.halves).toHaveLength(1);
  });
});

describe("a decision that comes too late", () => {
  it("rule 24: a commit after somebody recorded a rollback: the caller must know that it is not sent", async () => {
    const w = halfWorld();
    const a = await w.process();
    const gate = Promise.withResolvers<Decision>();
    let signal: AbortSignal | null = null;
    const run = watch(a.half.run({ n: 1 }, (about) => ((signal = about.signal), gate.promise), { id: "m1" }));
    await turns();
    a.freeze(true);
    const b = await w.process(() => "rollback");
    await w.pass(20_000);
    expect(b.asked).toHaveLength(1);
    a.freeze(false);
    await w.pass(10_000);
    expect(signal).toMatchObject({ aborted: true, reason: { code: "fenced" } });
    gate.resolve("commit");
    await w.pass(30_000);
    expect(run.error).toMatchObject({ code: "fenced", id: "m1", mayArrive: false });
    expect(w.sent()).toEqual([]);
  });

  it("a rollback after somebody recorded a commit: the caller must know that it is sent", async () => {
    const w = halfWorld();
    const a = await w.process();
    const gate = Promise.withResolvers<Decision>();
    const run = watch(a.half.run({ n: 1 }, () => gate.promise, { id: "m1" }));
    await turns();
    const b = await w.process();
    expect(await b.half.decide("m1", "commit")).toBe("commit");
    gate.reject(new Error("declined"));
    await w.pass(5_000);
    expect(run.error).toMatchObject({ code: "fenced", mayArrive: true, cause: { message: "declined" } });
    expect(w.sent()).toEqual(["m1"]);
  });

  it("the first to decide is heard, also after its lease is over", async () => {
    const w = halfWorld();
    const a = await w.process();
    const gate = Promise.withResolvers<Decision>();
    const run = watch(a.half.run({ n: 1 }, () => gate.promise, { id: "m1" }));
    await turns();
    a.freeze(true);
    const b = await w.process(() => "unknown");
    await w.pass(20_000);
    expect(b.asked.length).toBeGreaterThan(0);
    gate.resolve("commit");
    await w.pass(2_000);
    expect([run.value?.decision, w.sent()]).toEqual(["commit", ["m1"]]);
  });

  it("a process that stood still and finds its own half message goes on with it, and does not check it", async () => {
    const w = halfWorld();
    const a = await w.process(() => "rollback");
    const gate = Promise.withResolvers<Decision>();
    const signals: AbortSignal[] = [];
    const work = ({ signal }: { readonly signal: AbortSignal }): Promise<Decision> => (
      signals.push(signal),
      gate.promise
    );
    const run = watch(a.half.run({ n: 1 }, work, { id: "m1" }));
    await turns();
    a.freeze(true);
    await w.pass(20_000);
    a.freeze(false);
    await w.pass(60_000);
    // It has its lease again, and keeps it.
    const b = await w.process(() => "rollback");
    await w.pass(20_000);
    expect([a.asked, b.asked, signals.map(({ aborted }) => aborted)]).toEqual([[], [], [false]]);
    gate.resolve("commit");
    await w.pass(2_000);
    expect([run.value?.decision, w.sent()]).toEqual(["commit", ["m1"]]);
  });
});

describe("a committed one of a process that stood still", () => {
  it("and found it again is its own until it is released: nobody else gets it meanwhile", async () => {
    const w = halfWorld({ keeps: true });
    const a = await w.process(() => "rollback");
    const gate = Promise.withResolvers<Decision>();
    const run = watch(a.half.run({ n: 1 }, () => gate.promise, { id: "m1" }));
    await turns();
    a.freeze(true);
    await w.pass(20_000);
    a.freeze(false);
    await w.pass(20_000);
    w.keeper!.losesCommits = w.keeper!.losesAnswers = true;
    gate.resolve("commit");
    await w.pass(1_000);
    expect(run.value?.decision).toBe("commit");
    const fence = w.outbox.halves[0]!.fence;
    await w.pass(40_000);
    expect(w.outbox.halves.map((half) => [half.state, half.fence])).toEqual([["committed", fence]]);
  });
});

describe("a store that fails", () => {
  it("at the prepare: rejected, and no work is done", async () => {
    const w = halfWorld();
    const p = await w.process();
    w.outbox.broken = disk;
    let works = 0;
    const run = watch(p.half.run({ n: 1 }, () => (works++, "commit"), { id: "m1" }));
    await w.pass(1_000);
    expect(run.error).toMatchObject({ code: "store", id: "m1", mayArrive: false, retryable: true });
    expect(works).toBe(0);
  });

  it("at the decision: written again until it is recorded", async () => {
    const w = halfWorld();
    const p = await w.process();
    const run = watch(
      p.half.run(
        { n: 1 },
        () => {
          w.outbox.broken = disk;
          return "commit";
        },
        { id: "m1" },
      ),
    );
    await w.pass(1_000);
    expect(run.state).toBe("pending");
    w.outbox.broken = null;
    await w.pass(3_000);
    expect([run.value?.decision, w.sent()]).toEqual(["commit", ["m1"]]);
  });

  it("for too long: the caller is told that nobody knows, and check decides", async () => {
    const w = halfWorld();
    const p = await w.process(() => "commit");
    const run = watch(
      p.half.run(
        { n: 1 },
        () => {
          w.outbox.broken = disk;
          return "commit";
        },
        { id: "m1" },
      ),
    );
    await w.pass(30_000);
    expect(run.error).toMatchObject({ code: "store", mayArrive: true, retryable: true, id: "m1" });
    w.outbox.broken = null;
    await w.pass(30_000);
    expect([p.asked.length, w.sent()]).toEqual([1, ["m1"]]);
  });

  it("when a committed one is to become a row: its key waits, and it is sent when there is room", async () => {
    const w = halfWorld();
    const p = await w.process(undefined, { topic: ordered });
    killAt("half.decided", () => {
      w.outbox.broken = disk;
    });
    const run = watch(p.half.run({ n: 1 }, () => "commit", { id: "m1" }));
    await w.pass(1_000);
    expect(run.value?.decision).toBe("commit");
    const behind = watch(p.tally.publish(ordered, { n: 2 }, { id: "m2" }));
    await w.pass(5_000);
    expect([behind.state, w.sent(ordered)]).toEqual(["pending", []]);
    w.outbox.broken = null;
    await w.pass(15_000);
    expect(w.sent(ordered)).toEqual(["m1", "m2"]);
  });
});

it("one whose topic has another order by now is parked, when it is committed", async () => {
  const w = halfWorld();
  const a = await w.process(undefined, { topic: ordered });
  killAt("half.decided", a.kill);
  void a.half.run({ n: 1 }, () => "commit", { id: "m1" });
  await turns();
  const b = await w.process(undefined, { topic: topic<Order>("ordered", { groups: ["billing"] }), topics: [] });
  await w.pass(30_000);
  expect(b.of("half-parked")).toMatchObject([{ id: "m1", reason: expect.stringMatching(/ordered and as unordered/) }]);
  expect(await b.half.undecided()).toMatchObject([{ id: "m1" }]);
});

describe("close and abort", () => {
  it("a close waits for what is at work; at the limit its signal fires, and check will be asked", async () => {
    const w = halfWorld();
    const p = await w.process();
    const gate = Promise.withResolvers<Decision>();
    const quick = watch(p.half.run({ n: 1 }, () => gate.promise, { id: "m1" }));
    let signal: AbortSignal | null = null;
    const slow = watch(
      p.half.run({ n: 2 }, (about) => ((signal = about.signal), new Promise<Decision>(() => {})), { id: "m2" }),
    );
    await turns();
    const closed = watch(p.tally.close({ within: "5s" }));
    await turns(); // consumers first: their handlers may still begin one
    await expect(p.half.run({ n: 3 }, () => "commit")).rejects.toMatchObject({ code: "closed" });
    await w.pass(2_000);
    gate.resolve("commit");
    await w.pass(1_000);
    expect([quick.value?.decision, closed.state]).toEqual(["commit", "pending"]);
    await w.pass(4_000);
    expect(slow.error).toMatchObject({ code: "closed", id: "m2", mayArrive: true });
    expect([signal, closed.state]).toMatchObject([{ aborted: true }, "resolved"]);
    expect(w.sent()).toEqual(["m1"]);
    expect(w.clock.pending()).toBe(0);
    const next = await w.process(() => "commit");
    await w.pass(20_000);
    expect([next.asked, w.sent()]).toEqual([[{ n: 2 }], ["m1", "m2"]]);
  });

  it("aborted before the work: withdrawn, and no work is done; while it works the signal is the work's", async () => {
    const w = halfWorld();
    const p = await w.process();
    const early = new AbortController();
    let works = 0;
    const first = watch(p.half.run({ n: 1 }, () => (works++, "commit"), { id: "m1", signal: early.signal }));
    early.abort(new Error("enough"));
    await w.pass(1_000);
    expect(first.error).toMatchObject({ code: "aborted", id: "m1" });
    // As if it had never been: nobody decided anything, and a later call must not be told that somebody did.
    expect([works, w.outbox.halves]).toEqual([0, []]);
    const again = watch(p.half.run({ n: 1 }, () => (works++, "commit"), { id: "m1" }));
    await w.pass(1_000);
    expect([again.value?.decision, works, w.sent()]).toEqual(["commit", 1, ["m1"]]);
    const late = new AbortController();
    const second = watch(
      p.half.run(
        { n: 2 },
        async ({ signal }): Promise<Decision> => {
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
          return "rollback";
        },
        { id: "m2", signal: late.signal },
      ),
    );
    await turns();
    late.abort(new Error("enough"));
    await w.pass(1_000);
    expect(second.value).toMatchObject({ decision: "rollback" });
  });
});

describe("while a schema takes its time", () => {
  it.each(["aborted", "closed"] as const)("%s: no work is done, and nothing is stored", async (how) => {
    const w = halfWorld();
    const verdict = Promise.withResolvers<{ value: Order }>();
    const slow = topic<Order>("plain", {
      groups: ["billing"],
      schema: { "~standard": { version: 1, vendor: "test", validate: () => verdict.promise } },
    } as never);
    const p = await w.process(undefined, { topic: slow as never, topics: [] });
    const caller = new AbortController();
    let works = 0;
    const run = watch(p.half.run({ n: 1 }, () => (works++, "commit"), { id: "m1", signal: caller.signal }));
    await turns();
    if (how === "aborted") caller.abort(new Error("enough"));
    // It is not held up by what has not begun.
    else await Promise.all([p.tally.close({ within: "1s" }), w.pass(1_000)]);
    verdict.resolve({ value: { n: 1 } });
    await w.pass(5_000);
    expect(run.error).toMatchObject({ code: how, id: "m1", mayArrive: false });
    expect([works, w.outbox.halves, w.outbox.rows]).toEqual([0, [], []]);
  });
});

describe("what is refused", () => {
  it("a half message without an outbox, by name, at its declaration", async () => {
    await using tally = await openTally({ service: "shop", broker: memory() });
    expect(() => tally.half("payment", { topic: plain, check: () => "unknown" })).toThrow(
      /\[unsupported\] half "payment" needs an outbox/,
    );
  });

  it("a declaration that cannot be", async () => {
    const w = halfWorld();
    const { tally } = await w.process();
    const check = (): Decision => "unknown";
    const bad: [unknown, unknown, RegExp][] = [
      ["payment", { topic: plain, check }, /declared already/],
      ["", { topic: plain, check }, /name must be/],
      ["other", { topic: plain }, /needs a topic and check/],
      ["other", { check }, /needs a topic and check/],
      ["other", { topic: "plain", check }, /topic must be/],
      ["other", { topic: plain, check: "commit" }, /check must be/],
      ["other", { topic: plain, check, leese: "1s" }, /did you mean "lease"/],
      ["other", { topic: plain, check, lease: 0 }, /lease/],
      ["other", { topic: plain, check, maxChecks: 0 }, /maxChecks/],
      ["other", { topic: plain, check, checkMin: "1m", checkMax: "1s" }, /must not exceed/],
      ["other", { topic: topic("off", { outbox: "off" }), check }, /outbox: "off"/],
    ];
    for (const [name, options, message] of bad)
      expect(() => tally.half(name as string, options as never)).toThrow(message);
  });

  it("a call that cannot be sent, with nothing stored", async () => {
    const w = halfWorld();
    const p = await w.process();
    const work = (): Decision => "commit";
    const bad: [unknown, unknown, unknown, string][] = [
      [{ n: 1 }, "commit", {}, "bad-config"],
      [{ n: 1 }, work, { tx: {} }, "unsupported"],
      [{ n: 1 }, work, { delay: "1s" }, "unsupported"],
      [{ n: 1 }, work, { id: "" }, "bad-message"],
      [{ n: 1 }, work, { headers: { "tally-x": "1" } }, "bad-message"],
      [{ n: 1n }, work, {}, "bad-message"],
      [{ n: 1 }, work, { signal: AbortSignal.abort() }, "aborted"],
      [{ n: 1 }, work, { deadline: -1 }, "bad-config"],
    ];
    for (const [body, does_, options, code] of bad)
      await expect(p.half.run(body as never, does_ as never, options as never)).rejects.toMatchObject({ code });
    expect(w.outbox.halves).toEqual([]);
  });
});
