import assert from "node:assert/strict";
import { HEADER, type Incoming, type Outgoing, RESERVED_PREFIX, type TopicPlan } from "@tallymq/core/spi";
import type { ConformanceCase } from "../case.ts";
import { noise } from "../messages.ts";
import { portCase, type Stage } from "../stage.ts";

export const envelopeCases: readonly ConformanceCase[] = [
  portCase("every field of a message arrives", [], async (s) => {
    const topic = await s.topic("envelope");
    await arrives(s, topic, {
      id: "order-4711/ä",
      key: "customer 17 ✓",
      type: "order.created",
      contentType: "application/vnd.shop+json; charset=utf-8",
      contentEncoding: "gzip",
      time: 1_767_225_599_000,
      attempt: 7,
      correlationId: "correlation-ß",
      causationId: "cause-1",
      headers: {
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate: "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
        tenant: "acme",
      },
    });
  }),

  portCase("a field without a value arrives as null", [], async (s) => {
    await arrives(s, await s.topic("bare"), { headers: {} });
  }),

  portCase("an id and a key of 255 bytes arrive whole", [], async (s) => {
    await arrives(s, await s.topic("long"), { id: "é".repeat(127) + "x", key: "k".repeat(255) });
  }),

  portCase("headers arrive as they were written", [], async (s) => {
    await arrives(s, await s.topic("headers"), {
      headers: {
        "": "an empty name",
        empty: "",
        unicode: "żółć 語 🎈\u0000 end",
        "name.with:signs_and-Case": " spaces around ",
        long: "x".repeat(8_192),
        number: "42",
        constructor: "not a function",
        toString: "neither",
      },
    });
  }),

  portCase("a header named __proto__ does no harm", [], async (s) => {
    const topic = await s.topic("proto");
    const headers = JSON.parse('{ "__proto__": "evil", "good": "yes" }') as Record<string, string>;
    const got = await roundTrip(s, s.main.messages.one(topic, { headers }));
    assert.equal(Object.getPrototypeOf(got.headers), null, "expected headers without a prototype");
    assert.equal(got.headers["good"], "yes");
  }),

  portCase("our own headers are not among the caller's", [], async (s) => {
    const topic = await s.topic("reserved");
    const got = await roundTrip(
      s,
      s.main.messages.one(topic, { key: "k", type: "t", correlationId: "c", causationId: "d" }),
    );
    const ours = Object.keys(got.headers).filter(
      (name) => name.startsWith(RESERVED_PREFIX) || (Object.values(HEADER) as string[]).includes(name),
    );
    assert.deepEqual(ours, []);
  }),

  portCase("bodies arrive byte for byte: none, one, 1 MiB, and a view into a larger buffer", [], async (s) => {
    const topic = await s.topic("bodies");
    const large = noise(1024 * 1024);
    const bodies = [new Uint8Array(0), new Uint8Array([0]), large, noise(4_096).subarray(100, 357)];
    const messages = bodies.map((body) => s.main.messages.one(topic, { body }));
    await (await s.main.sender()).accepted(messages);
    const receiver = await s.main.receiver(topic, { auto: true });
    await receiver.has(messages.map((m) => m.id));
    // Compared only now, when all have come: a body must not be a view into a buffer that the driver uses again.
    for (const { id, body } of messages) {
      const got = receiver.deliveries.find((d) => d.message.id === id)?.message.body;
      assert.equal(got?.length, body.length);
      assert.ok(
        Buffer.compare(Buffer.from(got!), Buffer.from(body)) === 0,
        `expected the ${body.length} bytes that were sent`,
      );
    }
  }),

  portCase("a foreign message arrives with null for what its sender did not say", ["foreign"], async (s) => {
    const topic = await s.topic("foreign");
    await s.rig.foreign!(topic.name, new TextEncoder().encode("{}"));
    const receiver = await s.main.receiver(topic, { auto: true });
    const [delivery] = await receiver.first(1);
    const { id, producer, run, seq, key, time, correlationId, causationId, attempt, body, headers } = delivery!.message;
    assert.deepEqual(
      { id, producer, run, seq, key, time, correlationId, causationId },
      { id: null, producer: null, run: null, seq: null, key: null, time: null, correlationId: null, causationId: null },
    );
    assert.equal(attempt, 1);
    assert.equal(new TextDecoder().decode(body), "{}");
    assert.deepEqual(Object.keys(headers), []);
    assert.equal(delivery!.message.topic, topic.name);
  }),
];

async function arrives(s: Stage, topic: TopicPlan, given: Partial<Outgoing>): Promise<void> {
  const sent = s.main.messages.one(topic, given);
  const got = await roundTrip(s, sent);
  // AMQP's timestamp counts seconds.
  const time = got.time !== null && Math.abs(got.time - sent.time) < 1_000 ? sent.time : got.time;
  const { ordered: _, native: __, group: ___, delayMs: ____, headers, body, ...fields } = sent;
  assert.deepEqual(
    {
      id: got.id,
      producer: got.producer,
      run: got.run,
      seq: got.seq,
      topic: got.topic,
      key: got.key,
      type: got.type,
      contentType: got.contentType,
      contentEncoding: got.contentEncoding,
      time,
      attempt: got.attempt,
      correlationId: got.correlationId,
      causationId: got.causationId,
    },
    fields,
  );
  assert.deepEqual({ ...got.headers }, { ...headers });
  assert.deepEqual(Buffer.from(got.body), Buffer.from(body));
}

async function roundTrip(s: Stage, message: Outgoing): Promise<Incoming> {
  await (await s.main.sender()).accepted([message]);
  const receiver = await s.main.receiver(
    { name: message.topic, ordered: message.ordered, groups: ["g"] },
    { auto: true },
  );
  const [delivery] = await receiver.first(1);
  return delivery!.message;
}
