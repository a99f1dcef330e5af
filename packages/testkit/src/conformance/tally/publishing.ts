import assert from "node:assert/strict";
import { bytes, type Receipt, type TallyError, topic } from "@tallymq/core";
import type { ConformanceCase } from "../case.ts";
import { noise } from "../messages.ts";
import { definite, rejects } from "./expect.ts";
import { type Order, textual } from "./order.ts";
import { tallyCase } from "./stage.ts";

export const publishingCases: readonly ConformanceCase[] = [
  tallyCase("what is published is handled once, with its envelope", [], async (s) => {
    const orders = s.topic<Order>("handled", { key: (o) => `k${o.n % 3}`, type: "order" });
    const { tally } = await s.tally({ service: "shop", topics: [orders] });
    const effects = await s.consumer(tally, orders);
    const before = Date.now();
    const receipts = await s.settled(
      "50 receipts",
      Promise.all(
        Array.from({ length: 50 }, (_, n) =>
          tally.publish(orders, { n }, { id: `id-${n}`, headers: { tenant: "acme" }, correlationId: `c-${n}` }),
        ),
      ),
    );
    assert.deepEqual(
      receipts.map((r) => r.id),
      Array.from({ length: 50 }, (_, n) => `id-${n}`),
    );
    await effects.has(receipts.map((r) => r.id));
    await s.quiet();
    assert.equal(effects.seen.length, 50, "expected one call for each message");
    for (const { id, body, context } of effects.seen) {
      const { key, producer, type, correlationId, group, topic, time, headers, attempt } = context;
      assert.deepEqual(
        { id, key, producer, type, correlationId, group, topic, tenant: headers["tenant"], attempt },
        {
          id: `id-${body.n}`,
          key: `k${body.n % 3}`,
          producer: "shop",
          type: "order",
          correlationId: `c-${body.n}`,
          group: "g",
          topic: orders.name,
          tenant: "acme",
          attempt: 1,
        },
      );
      assert.ok(
        time !== null && time >= before - 1_000 && time <= Date.now() + 1_000,
        `expected the time of publish; got ${time}`,
      );
    }
    await s.allSettled(orders);
  }),

  tallyCase("a receipt names the message and what the broker vouched for", [], async (s) => {
    const orders = s.topic<Order>("receipt");
    const { tally } = await s.tally();
    const receipts = await s.settled("receipts", Promise.all([1, 2, 3].map((n) => tally.publish(orders, { n }))));
    assert.equal(new Set(receipts.map((r) => r.id)).size, 3, "expected an id of its own for each");
    for (const { state, proof } of receipts) {
      assert.equal(state, "confirmed");
      for (const sure of [proof.routed, proof.persisted, proof.replicated])
        assert.ok(["yes", "no", "unverified"].includes(sure));
      assert.notEqual(proof.routed, "no");
    }
  }),

  tallyCase("publishMany gives one receipt or error for each entry", [], async (s) => {
    const orders = topic(s.rig.topic("many"), { schema: textual, groups: ["g"] });
    const { tally } = await s.tally();
    const effects = await s.consumer(tally, orders);
    const results = await s.settled(
      "publishMany",
      tally.publishMany(orders, [
        { id: "a", body: { n: "1" } },
        { id: "b", body: { n: "one" } },
        { id: "c", body: { n: "3" } },
      ]),
    );
    assert.deepEqual(
      results.map((r) => (r as Partial<Receipt>).state ?? (r as TallyError).code),
      ["confirmed", "schema", "confirmed"],
    );
    await effects.has(["a", "c"]);
    await s.quiet();
    assert.deepEqual(effects.seen.map((e) => e.id).sort(), ["a", "c"], "expected the others alone");
  }),

  tallyCase("a schema holds on both ends: wrong bodies are not sent, and handlers get its output", [], async (s) => {
    const typed = topic(s.rig.topic("schema"), { schema: textual, groups: ["g"] });
    const { tally } = await s.tally();
    const failures: string[] = [];
    const effects = await s.consumer(tally, typed, {
      attempts: 1,
      onError: (error) => {
        failures.push(error.code);
        s.watch.changed();
        return { kind: "release", afterMs: 3_600_000 };
      },
    });
    definite(await rejects(tally.publish(typed, { n: "x" }), "schema"));
    // Somebody else's publisher knows no schema.
    const untyped = { ...typed, schema: null } as typeof typed;
    await s.settled("a receipt", tally.publish(untyped, { n: "y" }, { id: "wrong" }));
    await s.settled("a receipt", tally.publish(typed, { n: "7" }, { id: "right" }));
    await effects.has(["right"]);
    await s.watch.until(
      "onError to be asked",
      () => failures.length > 0,
      () => failures,
    );
    assert.deepEqual(
      effects.seen.map((e) => e.body),
      [{ n: 7 }],
    );
    assert.ok(
      failures.every((code) => code === "schema"),
      `expected schema errors; got ${failures.join()}`,
    );
  }),

  tallyCase("the bytes codec carries bytes as they are", [], async (s) => {
    const blobs = s.topic<Uint8Array>("bytes", { codec: bytes });
    const { tally } = await s.tally();
    const effects = await s.consumer(tally, blobs);
    const bodies = [new Uint8Array(0), noise(1), noise(100_000)];
    const sent = bodies.map((body, n) => ({ body: body.slice(), id: `b-${n}` }));
    const publishing = sent.map(({ body, id }) => tally.publish(blobs, body, { id }));
    // The snapshot is taken in the call: what the caller does with the buffer afterwards is his own business.
    for (const { body } of sent) body.fill(0);
    await s.settled("receipts", Promise.all(publishing));
    await effects.has(sent.map(({ id }) => id));
    for (const [n, body] of bodies.entries()) {
      assert.deepEqual(Buffer.from(effects.seen.find((e) => e.id === `b-${n}`)!.body), Buffer.from(body));
    }
  }),

  tallyCase("an id in flight is joined by the same body, and in conflict with another", [], async (s) => {
    const orders = s.topic<Order>("joined");
    const { tally, wire } = await s.tally();
    const effects = await s.consumer(tally, orders);
    const both = [tally.publish(orders, { n: 1 }, { id: "twice" }), tally.publish(orders, { n: 1 }, { id: "twice" })];
    definite(await rejects(tally.publish(orders, { n: 2 }, { id: "twice" }), "conflict"));
    const receipts = await s.settled("both receipts", Promise.all(both));
    assert.deepEqual(
      receipts.map((r) => r.id),
      ["twice", "twice"],
    );
    await effects.has(["twice"]);
    await s.quiet();
    assert.deepEqual(
      effects.seen.map((e) => e.body),
      [{ n: 1 }],
      "expected one effect, of the first body",
    );
    assert.equal(wire.copies.get("twice"), 1, "expected one copy");
  }),

  tallyCase("at most the window is on its way; publish waits for the rest", [], async (s) => {
    const orders = s.topic<Order>("window");
    const { tally, wire } = await s.tally({ publish: { window: 10 } });
    const effects = await s.consumer(tally, orders);
    const receipts = await s.settled(
      "300 receipts",
      Promise.all(Array.from({ length: 300 }, (_, n) => tally.publish(orders, { n }))),
    );
    assert.ok(wire.peak <= 10, `expected at most 10 copies without a verdict; got ${wire.peak}`);
    await effects.has(receipts.map((r) => r.id));
  }),

  tallyCase("unroutable rejects, definitely, and only that message", ["unroutable"], async (s) => {
    const nowhere = s.topic<Order>("nowhere", { groups: [] });
    const orders = s.topic<Order>("somewhere");
    const { tally } = await s.tally();
    const lost = rejects(tally.publish(nowhere, { n: 1 }), "unroutable");
    await s.settled("a receipt", tally.publish(orders, { n: 2 }));
    definite(await s.settled("a rejection", lost));
  }),

  tallyCase("what is too large is rejected, definitely, and only that message", [], async (s) => {
    const blobs = s.topic<Uint8Array>("too-large", { codec: bytes });
    const { tally } = await s.tally();
    const tooLarge = rejects(tally.publish(blobs, new Uint8Array(tally.traits.maxBytes + 1)), "too-large");
    await s.settled("a receipt", tally.publish(blobs, noise(10)));
    definite(await s.settled("a rejection", tooLarge));
  }),

  tallyCase("a message published because of another carries its trace on", [], async (s) => {
    const orders = s.topic<Order>("cause");
    const events = s.topic<Order>("effect");
    const { tally } = await s.tally({ topics: [orders, events] });
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    await s.consumer(tally, orders, {
      before: async (body, cause) => void (await tally.publish(events, body, { cause })),
    });
    const effects = await s.consumer(tally, events);
    await s.settled(
      "a receipt",
      tally.publish(orders, { n: 1 }, { id: "first", correlationId: "c", headers: { traceparent, tracestate: "a=b" } }),
    );
    await s.watch.until(
      "the second effect",
      () => effects.seen.length > 0,
      () => 0,
    );
    const { correlationId, causationId, headers } = effects.seen[0]!.context;
    assert.deepEqual(
      { correlationId, causationId, ...headers },
      { correlationId: "c", causationId: "first", traceparent, tracestate: "a=b" },
    );
  }),

  tallyCase(
    "an aborted publish that never left is definite and never arrives; one that left may arrive",
    ["pause"],
    async (s) => {
      const orders = s.topic<Order>("aborted");
      const { tally } = await s.tally({ publish: { window: 1 }, topics: [orders] });
      const effects = await s.consumer(tally, orders);
      await s.settled("a receipt", tally.publish(orders, { n: 0 }, { id: "before" }));
      await effects.has(["before"]);
      definite(await rejects(tally.publish(orders, { n: 1 }, { id: "never", signal: AbortSignal.abort() }), "aborted"));
      await s.rig.pause!.begin();
      let left: TallyError;
      try {
        const caller = new AbortController();
        const onWire = rejects(tally.publish(orders, { n: 2 }, { id: "left", signal: caller.signal }), "aborted");
        const waiting = rejects(tally.publish(orders, { n: 3 }, { id: "waiting", signal: caller.signal }), "aborted");
        await s.quiet();
        caller.abort();
        definite(await s.settled("a rejection", waiting));
        left = await s.settled("a rejection", onWire);
      } finally {
        await s.rig.pause!.end();
      }
      assert.equal(left.mayArrive, true, "expected mayArrive for what had left");
      const { tally: another } = await s.tally();
      await s.settled("a receipt", another.publish(orders, { n: 4 }, { id: "after" }));
      await effects.has(["after"]);
      await s.quiet();
      assert.deepEqual(
        effects.seen.map((e) => e.id).filter((id) => id === "waiting" || id === "never"),
        [],
      );
      // The copy that left may never be answered: nobody waits for it.
      await tally.close({ within: 20 });
    },
  ),
];
