// One thing: half messages that the broker keeps, in virtual time, on one that asks, drops and doubles as RocketMQ does.
import { afterEach, describe, expect, it } from "vitest";
import { armFailpoints, type Failpoint } from "../../src/failpoints.ts";
import { type Decision, TallyError } from "../../src/index.ts";
import { ASKS_FOR_MS, type HalfBroker } from "../support/half-broker.ts";
import { does, type HalfWorld, halfWorld, killAt, type Order, ordered, turns } from "../support/half-world.ts";
import { nack, no, watch } from "../support/scripted-transport.ts";

afterEach(() => armFailpoints(null));

function world(): HalfWorld & { readonly keeper: HalfBroker } {
  return halfWorld({ keeps: true }) as HalfWorld & { readonly keeper: HalfBroker };
}
const states = (w: HalfWorld): readonly string[] => w.outbox.halves.map(({ state }) => state);

describe("run()", () => {
  it("rule 24: the broker has the half message before the work begins; committed, it is handed out once, and no row was needed", async () => {
    const w = world();
    const p = await w.process();
    const gate = Promise.withResolvers<void>();
    w.keeper.gate = gate.promise;
    let worked = false;
    const run = watch(p.half.run({ n: 1 }, () => ((worked = true), "commit"), { id: "m1" }));
    await w.pass(2_000);
    expect([worked, states(w)]).toEqual([false, ["undecided"]]);
    gate.resolve();
    await w.pass(500);
    expect([worked, run.value?.decision]).toEqual([true, "commit"]);
    expect([w.keeper.told, w.sent(), states(w)]).toEqual([["m1 commit"], ["m1"], ["committed"]]);
    // An OK was no proof; that it is there is one.
    await w.pass(2_000);
    expect([states(w), w.outbox.rows, p.of("half-settled").length]).toEqual([["released"], [], 1]);
    await w.pass(600_000, 1_000);
    expect([w.sent(), w.keeper.answers]).toEqual([["m1"], []]);
  });

  it("rollback, and a work that throws: the broker is told, and nothing is handed out", async () => {
    const w = world();
    const p = await w.process();
    await p.half.run({ n: 1 }, () => "rollback", { id: "m1" });
    await expect(
      p.half.run(
        { n: 2 },
        () => {
          throw new Error("declined");
        },
        { id: "m2" },
      ),
    ).rejects.toThrow("declined");
    await w.pass(1_000);
    expect(w.keeper.told).toEqual(["m1 rollback", "m2 rollback"]);
    await w.pass(60_000);
    expect([w.sent(), w.keeper.halves.map(({ state }) => state)]).toEqual([[], ["rolledBack", "rolledBack"]]);
  });

  it("a half message that the broker refuses: the caller is told, no work is done, and the id is free", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.verdict = no("refused");
    let works = 0;
    const work = (): Decision => (works++, "commit");
    const run = watch(p.half.run({ n: 1 }, work, { id: "m1" }));
    await w.pass(500);
    expect(run.error).toMatchObject({ code: "refused", id: "m1", mayArrive: false });
    expect(run.error?.message).toMatch(/did not take the half message, and no work was done/);
    expect([works, states(w)]).toEqual([0, []]);
    w.keeper.verdict = null;
    const again = watch(p.half.run({ n: 9 }, work, { id: "m1" }));
    await w.pass(3_000);
    expect([again.value?.decision, works, w.sent()]).toEqual(["commit", 1, ["m1"]]);
  });

  it("one that is not taken now is offered again, up to brokerWithin, and the caller's signal ends that", async () => {
    const w = world();
    const p = await w.process(undefined, { brokerWithin: "5s" });
    w.keeper.verdict = nack();
    const patient = watch(p.half.run({ n: 1 }, () => "commit", { id: "m1" }));
    const caller = new AbortController();
    const aborted = watch(p.half.run({ n: 2 }, () => "commit", { id: "m2", signal: caller.signal }));
    const late = watch(p.half.run({ n: 3 }, () => "commit", { id: "m3" }));
    await w.pass(1_000);
    caller.abort(new Error("enough"));
    await w.pass(100);
    expect(aborted.error).toMatchObject({ code: "aborted", id: "m2" });
    expect(p.of("resend").map(({ id }) => id)).toContain("m1");
    await w.pass(4_500);
    expect([patient.error?.code, late.error?.code, states(w)]).toEqual(["later", "later", []]);
    expect(w.clock.pending()).toBeLessThan(20);
  });

  it("copies in doubt are copies: whichever the broker asks about, one of them alone is handed out", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.verdict = no("doubt");
    const run = watch(p.half.run({ n: 1 }, () => "commit", { id: "m1" }));
    await w.pass(100);
    w.keeper.verdict = null;
    await w.pass(60_000);
    expect(run.value?.decision).toBe("commit");
    expect(w.keeper.halves.length).toBeGreaterThan(1);
    expect(w.keeper.halves.map(({ state }) => state).toSorted()).toEqual([
      "committed",
      ...w.keeper.halves.slice(1).map(() => "rolledBack"),
    ]);
    expect(w.sent()).toEqual(["m1"]);
  });

  it('keep: "either": while the broker is away it waits in the outbox, and goes out when it is committed', async () => {
    const w = world();
    w.keeper.away = new TallyError("unreachable", "away", { retryable: true });
    const p = await w.process(undefined, { keep: "either", brokerWithin: "2s" });
    const run = watch(p.half.run({ n: 1 }, () => "commit", { id: "m1" }));
    const back = watch(p.half.run({ n: 2 }, () => "rollback", { id: "m2" }));
    await w.pass(1_500);
    expect([run.state, back.state]).toEqual(["pending", "pending"]);
    await w.pass(2_000);
    expect([run.value?.decision, back.value?.decision]).toEqual(["commit", "rollback"]);
    expect(p.of("half-kept").map(({ id, error }) => [id, error.code])).toEqual([
      ["m1", "unreachable"],
      ["m2", "unreachable"],
    ]);
    expect([w.sent(), states(w)]).toEqual([["m1"], ["released", "rolledBack"]]);
  });

  it('keep: "outbox": the broker is given none', async () => {
    const w = world();
    const p = await w.process(undefined, { keep: "outbox" });
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(1_000);
    expect([w.keeper.halves, w.sent()]).toEqual([[], ["m1"]]);
  });

  it("without a session it waits for one; what is lost meanwhile comes back", async () => {
    const w = world();
    const p = await w.process();
    await w.pass(1_000);
    w.keeper.away = new TallyError("unreachable", "away", { retryable: true });
    w.keeper.lose();
    const run = watch(p.half.run({ n: 1 }, () => "commit", { id: "m1" }));
    await w.pass(2_000);
    expect(run.state).toBe("pending");
    w.keeper.away = null;
    await w.pass(10_000);
    expect([run.value?.decision, w.sent()]).toEqual(["commit", ["m1"]]);
  });
});

describe("the broker asks", () => {
  it("a commit that was lost is settled by the answer, from the record, once", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.losesCommits = true;
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(2_000);
    expect([w.sent(), states(w)]).toEqual([[], ["committed"]]);
    await w.pass(20_000);
    expect([w.sent(), p.asked, states(w)]).toEqual([["m1"], [], ["released"]]);
    expect(p.of("half-asked").at(-1)).toMatchObject({ name: "payment", topic: "plain", id: "m1", answer: "commit" });
  });

  it("at the moment of the commit: it gets no answer, or it would hand the message out twice", async () => {
    const w = world();
    const p = await w.process();
    armFailpoints((point) => {
      if (point === "half.told") w.keeper.ask("m1");
    });
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(500);
    w.keeper.ask("m1");
    await w.pass(1_000);
    expect([w.keeper.answers.includes("m1 commit"), w.sent()]).toEqual([false, ["m1"]]);
    w.keeper.ask("m1");
    await w.pass(10_000);
    // It was found by then: whatever is still asked about is another copy.
    expect([w.keeper.answers.at(-1), w.sent()]).toEqual(["m1 rollback", ["m1"]]);
  });

  it("just after it, where nobody can look into the broker: no answer; once it can be seen: another copy", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.blind = true;
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(1_500);
    w.keeper.ask("m1");
    await w.pass(1_000);
    expect([w.keeper.answers, w.sent()]).toEqual([["m1 unknown"], ["m1"]]);
    await w.pass(1_000);
    w.keeper.blind = false;
    w.keeper.ask("m1");
    await w.pass(200);
    expect([w.keeper.answers, w.sent()]).toEqual([["m1 unknown", "m1 rollback"], ["m1"]]);
  });

  it("about a copy with another body, of a run that was withdrawn: it is rolled back, whatever the record says", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.losesCommits = true;
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    const [half] = w.keeper.halves;
    w.keeper.halves.unshift({ ...half!, message: { ...half!.message, body: Buffer.from('{"n":9}') } });
    await w.pass(30_000);
    expect(w.keeper.halves.map(({ state }) => state)).toEqual(["rolledBack", "committed"]);
    expect(w.sent()).toEqual(["m1"]);
  });

  it("twice at once after a lost commit: one COMMIT leaves", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.losesCommits = true;
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(3_500);
    w.keeper.ask("m1");
    w.keeper.ask("m1");
    await w.pass(500);
    expect(w.keeper.answers.filter((one) => one === "m1 commit")).toHaveLength(1);
    await w.pass(20_000);
    expect(w.sent()).toEqual(["m1"]);
  });

  it("while the work is at it: no answer, however long it takes", async () => {
    const w = world();
    const p = await w.process();
    const gate = Promise.withResolvers<Decision>();
    const run = watch(p.half.run({ n: 1 }, () => gate.promise, { id: "m1" }));
    await w.pass(40_000);
    expect(new Set(w.keeper.answers)).toEqual(new Set(["m1 unknown"]));
    expect(p.asked).toEqual([]);
    gate.resolve("commit");
    await w.pass(5_000);
    expect([run.value?.decision, w.sent()]).toEqual(["commit", ["m1"]]);
  });

  it("about one of another service, or of a half that is not declared here: no answer", async () => {
    const w = world();
    const p = await w.process(() => "rollback");
    await p.half.run({ n: 1 }, () => "unknown", { id: "m1" });
    const [half] = w.keeper.halves;
    w.keeper.halves.push({ ...half!, message: { ...half!.message, id: "m2", producer: "till" } });
    w.keeper.halves.push({ ...half!, message: { ...half!.message, id: "m3" }, name: "refund" });
    w.keeper.ask("m2");
    w.keeper.ask("m3");
    await w.pass(500);
    expect(w.keeper.answers).toEqual(["m2 unknown", "m3 unknown"]);
  });

  it("about one without a record, as of another machine: check answers, with the body", async () => {
    const w = world();
    const seen: [Order, string][] = [];
    const p = await w.process((body, { id }) => (seen.push([body, id]), "commit"));
    await p.half.run({ n: 1 }, () => "rollback", { id: "m1" });
    const [half] = w.keeper.halves;
    w.keeper.halves.push({ ...half!, message: { ...half!.message, id: "m2" }, state: "half" });
    w.keeper.ask("m2");
    await w.pass(500);
    expect([seen, w.keeper.answers, w.sent()]).toEqual([[[{ n: 1 }, "m2"]], ["m2 commit"], ["m2"]]);
  });

  it("a rollback that was lost is told again, from the record", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.losesCommits = true;
    await p.half.run({ n: 1 }, () => "rollback", { id: "m1" });
    await w.pass(10_000);
    expect([w.keeper.halves[0]?.state, w.keeper.answers.at(-1), p.asked]).toEqual(["rolledBack", "m1 rollback", []]);
  });
});

describe("kill -9 at each point", () => {
  const points: readonly Failpoint[] = [
    "half.prepared",
    "half.offered",
    "half.worked",
    "half.decided",
    "half.told",
    "half.asked",
  ];
  const cases = points.flatMap((point) =>
    (["commit", "rollback"] as const)
      .filter((says) => says === "commit" || point !== "half.told")
      .map((says) => [point, says] as const),
  );
  it.each(cases)(
    "rule 24: killed at %s, work says %s: sent once if the work was done, else never",
    async (point, says) => {
      const w = world();
      const done = new Set<string>();
      const check = (_body: Order, { id }: { readonly id: string }): Decision => (done.has(id) ? "commit" : "rollback");
      const a = await w.process(check);
      // Only then does the broker ask.
      w.keeper.losesCommits = point === "half.asked";
      killAt(point, a.kill);
      void a.half.run({ n: 1 }, (about) => (says === "commit" ? does(done)(about) : "rollback"), { id: "m1" });
      await w.pass(point === "half.asked" ? 30_000 : 1_000);
      const b = await w.process(check);
      await w.pass(3 * ASKS_FOR_MS, 500);
      expect(w.sent()).toEqual(done.has("m1") ? ["m1"] : []);
      expect(states(w)).toEqual([done.has("m1") ? "released" : "rolledBack"]);
      const again = watch(b.half.run({ n: 1 }, () => "unknown", { id: "m1" }));
      await w.pass(1_000);
      expect(again.value?.decision).toBe(done.has("m1") ? "commit" : "rollback");
    },
  );

  it("between decision and commit: the successor answers the broker from the record; check is not asked", async () => {
    const w = world();
    const a = await w.process();
    killAt("half.decided", a.kill);
    void a.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(1_000);
    const b = await w.process();
    await w.pass(30_000);
    expect([w.sent(), b.asked, states(w), w.outbox.rows]).toEqual([["m1"], [], ["released"], []]);
  });
});

describe("what the broker does by itself", () => {
  it("rule 24: it gives up while no producer lives: the committed one is sent as a row, under its id, once", async () => {
    const w = world();
    const a = await w.process();
    killAt("half.decided", a.kill);
    void a.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(ASKS_FOR_MS + 10_000, 1_000);
    expect(w.keeper.halves.map(({ state }) => state)).toEqual(["dropped"]);
    const b = await w.process();
    await w.pass(20_000);
    expect([w.sent(), states(w), b.asked]).toEqual([["m1"], ["released"], []]);
    await w.pass(ASKS_FOR_MS, 1_000);
    expect(w.sent()).toEqual(["m1"]);
  });

  it("nor is it sent before that: the broker may still ask", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.losesCommits = w.keeper.losesAnswers = true;
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(ASKS_FOR_MS - 2_000, 1_000);
    expect([w.sent(), states(w)]).toEqual([[], ["committed"]]);
    await w.pass(20_000);
    expect([w.sent(), states(w)]).toEqual([["m1"], ["released"]]);
  });

  it("where nobody can look into it, a committed one is sent again after ten minutes: one effect by the inbox", async () => {
    const w = world();
    const p = await w.process();
    w.keeper.blind = true;
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(590_000, 1_000);
    expect(w.sent()).toEqual(["m1"]);
    await w.pass(30_000, 1_000);
    expect([w.sent(), states(w)]).toEqual([["m1", "m1"], ["released"]]);
  });

  it("what it drops while somebody looks is an event, and stands in health() for an hour", async () => {
    const w = world();
    w.keeper.droppedBefore = 3;
    const p = await w.process();
    await w.pass(31_000, 1_000);
    expect(p.of("half-dropped")).toEqual([]);
    w.keeper.droppedBefore = 5;
    await w.pass(31_000, 1_000);
    expect(p.of("half-dropped")).toMatchObject([{ what: "memory", messages: 2 }]);
    const stuck = async (): Promise<readonly string[]> =>
      (await p.tally.health()).checks.find(({ name }) => name === "stuck")!.findings.map(({ text }) => text);
    expect(await stuck()).toMatchObject([expect.stringMatching(/^the broker has dropped 2/)]);
    await w.pass(3_600_000, 10_000);
    expect(await stuck()).toEqual([]);
  });
});

it("thousands that wait for their proofs are not all held in memory: the look-out finds the others, and all come once", async () => {
  const w = world();
  const p = await w.process(undefined, { lease: "2s" });
  w.keeper.blind = true;
  const count = 2_100;
  await Promise.all(Array.from({ length: count }, (_, n) => p.half.run({ n }, () => "commit", { id: `m${n}` })));
  await w.pass(1_500, 500);
  // Each of those in memory renews its lease.
  const held = w.outbox.halves.filter(({ fence }) => fence === 1).length;
  expect(held).toBe(count);
  await w.pass(3_000, 500);
  expect(w.outbox.halves.filter(({ fence }) => fence > 1).length).toBeGreaterThan(20);
  w.keeper.blind = false;
  await w.pass(30_000, 500);
  expect([new Set(w.sent()).size, w.sent().length, new Set(states(w))]).toEqual([count, count, new Set(["released"])]);
});

it("a deadline that the broker's answer does not come within is not laid at another process's door", async () => {
  const w = world();
  const p = await w.process();
  w.keeper.gate = new Promise(() => {});
  const run = watch(p.half.run({ n: 1 }, () => "commit", { id: "m1", deadline: "2s" }));
  await w.pass(3_000);
  expect(run.error).toMatchObject({ code: "deadline", id: "m1", mayArrive: false, retryable: true });
  expect(run.error?.message).toMatch(/no work was done/);
  expect(run.error?.message).not.toMatch(/another process/);
});

it("a session that does not end holds up no close for longer than it may take", async () => {
  const w = world();
  const p = await w.process();
  await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
  w.keeper.leaving = new Promise(() => {});
  const closed = watch(p.tally.close({ within: "2s" }));
  await w.pass(10_000);
  expect(closed.state).toBe("resolved");
});

describe("what cannot be", () => {
  it("an ordered topic, by name, at its declaration, with the way out", async () => {
    const w = world();
    await expect(w.process(undefined, { topic: ordered })).rejects.toThrow(
      /\[unsupported\] half "payment": topic "ordered" is ordered; with keep: "outbox"/,
    );
    const p = await w.process(undefined, { topic: ordered, keep: "outbox" });
    await p.half.run({ n: 1 }, () => "commit", { id: "m1" });
    await w.pass(1_000);
    expect(w.sent(ordered)).toEqual(["m1"]);
  });

  it.each(["broker", "either"] as const)("keep: %s on a broker that keeps none", async (keep) => {
    const w = halfWorld();
    await expect(w.process(undefined, { keep })).rejects.toThrow(/\[unsupported\].*this broker keeps no half messages/);
  });
});

it("a close tells the broker what is decided, and leaves nothing behind that keeps the process", async () => {
  const w = world();
  const p = await w.process();
  const run = watch(p.half.run({ n: 1 }, () => "commit", { id: "m1" }));
  await turns();
  const closed = watch(p.tally.close({ within: "5s" }));
  await w.pass(2_000);
  expect([run.value?.decision, closed.state, w.sent()]).toEqual(["commit", "resolved", ["m1"]]);
  // The broker's own timer.
  expect(w.clock.pending()).toBe(1);
  await w.process();
  await w.pass(20_000);
  expect([states(w), w.sent()]).toEqual([["released"], ["m1"]]);
});
