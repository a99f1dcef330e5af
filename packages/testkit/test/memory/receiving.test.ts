import { memory, type MemoryBroker, type MemoryOptions, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { message, messages, NEVER, open, ORDERS, receiver, sender, settled, text } from "../support/harness.ts";

function bench(options?: MemoryOptions): MemoryBroker {
  const broker = memory(options);
  broker.declare(ORDERS);
  return broker;
}

describe("receiving", () => {
  it("hands on every field of a message, and a body of its own to each group", async () => {
    const plan = { ...ORDERS, groups: ["billing", "audit"] };
    const broker = memory();
    broker.declare(plan);
    const transport = open(broker);
    const a = await receiver(transport, { topic: plan });
    const b = await receiver(transport, { topic: plan, group: "audit" });
    const s = await sender(transport);
    const sent = message("a", {
      key: "k",
      type: "t",
      correlationId: "c",
      causationId: "d",
      attempt: 3,
      headers: { traceparent: "00-1", __proto__x: "y" },
      body: new Uint8Array([1, 2, 3]),
    });
    s.send(sent);
    await settled();
    const got = a.got[0]!.message;
    const { ordered, native, group, delayMs, headers, ...fields } = sent;
    expect([ordered, native, group, delayMs]).toEqual([false, null, null, 0]);
    expect(got).toMatchObject(fields);
    expect({ ...got.headers }).toEqual(headers);
    expect(Object.getPrototypeOf(got.headers)).toBe(null);
    expect(a.got[0]).toMatchObject({ lane: 0, place: null, count: 1 });
    got.body[0] = 9;
    expect([...b.got[0]!.message.body]).toEqual([1, 2, 3]);
  });

  it("never has more out than the credit", async () => {
    const transport = open(bench());
    const s = await sender(transport);
    s.send(...messages(10));
    const r = await receiver(transport, { credit: 3 });
    await settled();
    expect(r.ids()).toEqual(["m1", "m2", "m3"]);
    r.ack(r.got[1]!);
    await settled();
    expect(r.ids()).toEqual(["m1", "m2", "m3", "m4"]);
  });

  it("shares a group's messages among its consumers, each to one", async () => {
    const broker = bench();
    const [one, two] = [open(broker), open(broker)];
    const a = await receiver(one, { onDeliver: (batch, self) => self.ack(...batch) });
    const b = await receiver(two, { onDeliver: (batch, self) => self.ack(...batch) });
    const s = await sender(one);
    s.send(...messages(100));
    await settled();
    await broker.idle();
    expect([a.got.length, b.got.length]).toEqual([50, 50]);
    expect(new Set([...a.ids(), ...b.ids()]).size).toBe(100);
  });

  it("gives what a dead consumer had out its old place, counted", async () => {
    const broker = bench();
    const transport = open(broker);
    const s = await sender(transport);
    s.send(...messages(6));
    const a = await receiver(transport, { credit: 4 });
    await settled();
    a.ack(a.got[1]!);
    await a.receiver[Symbol.asyncDispose]();
    const b = await receiver(transport);
    await settled();
    expect(b.got.map((d) => `${d.message.id}×${d.count}`)).toEqual(["m1×2", "m3×2", "m4×2", "m5×1", "m6×1"]);
  });

  it("delivers a released message again at once, before those behind it", async () => {
    const transport = open(bench());
    const s = await sender(transport);
    s.send(...messages(3));
    const r = await receiver(transport, { credit: 1 });
    await settled();
    r.release(r.got[0]!);
    await settled();
    r.ack(r.got[1]!);
    await settled();
    expect(r.got.map((d) => `${d.message.id}×${d.count}`)).toEqual(["m1×1", "m1×2", "m2×1"]);
  });

  it("delivers a message released with a delay after it, and others meanwhile", async () => {
    const clock = virtualClock();
    const broker = bench();
    const transport = open(broker, clock);
    const s = await sender(transport);
    s.send(...messages(2));
    const r = await receiver(transport, { credit: 1 });
    await settled();
    r.release(r.got[0]!, 500);
    await settled();
    expect(r.ids()).toEqual(["m1", "m2"]);
    expect(broker.messages("orders", "billing").map((q) => q.state)).toEqual(["delayed", "unsettled"]);
    r.ack(r.got[1]!);
    await clock.advance(499);
    expect(r.ids()).toEqual(["m1", "m2"]);
    await clock.advance(1);
    expect(r.ids()).toEqual(["m1", "m2", "m1"]);
  });

  it("puts what came back too often into the dead letters of its group", async () => {
    const broker = bench({ deliveryLimit: 3 });
    const transport = open(broker);
    const s = await sender(transport);
    s.send(...messages(2));
    const r = await receiver(transport, {
      onDeliver: (batch, self) => batch.forEach((d) => (d.message.id === "m1" ? self.release(d) : self.ack(d))),
    });
    await settled();
    await broker.idle();
    expect(r.ids().filter((id) => id === "m1").length).toBe(3);
    expect(broker.deadLetters("orders", "billing").map((m) => text(m.body))).toEqual(["body of m1"]);
    expect(await transport.admin.backlog("orders", "billing", NEVER)).toBe(0);
  });

  it("ignores a settlement of an earlier session, and surfaces one that comes twice", async () => {
    const broker = bench();
    const transport = open(broker);
    const s = await sender(transport);
    s.send(...messages(1));
    const a = await receiver(transport);
    await settled();
    await a.receiver[Symbol.asyncDispose]();
    const b = await receiver(transport);
    await settled();
    b.ack(a.got[0]!);
    a.ack(a.got[0]!);
    expect(await transport.admin.backlog("orders", "billing", NEVER)).toBe(1);
    expect(b.seen).toEqual([]);
    b.ack(b.got[0]!);
    b.ack(b.got[0]!);
    expect(await transport.admin.backlog("orders", "billing", NEVER)).toBe(0);
    expect(b.seen).toEqual([expect.stringContaining("settled twice")]);
  });

  it("delivers nothing while paused or after stop, and still settles", async () => {
    const broker = bench();
    const transport = open(broker);
    const s = await sender(transport);
    const r = await receiver(transport);
    r.receiver.pause(0);
    s.send(...messages(2));
    await settled();
    expect(r.got).toEqual([]);
    r.receiver.resume(0);
    await settled();
    expect(r.ids()).toEqual(["m1", "m2"]);
    await r.receiver.stop();
    r.receiver.resume(0);
    s.send(message("m3"));
    await settled();
    expect(r.ids()).toEqual(["m1", "m2"]);
    r.ack(...r.got);
    expect(await transport.admin.backlog("orders", "billing", NEVER)).toBe(1);
  });

  it("is lost, with its deliveries given up, when its group is removed", async () => {
    const broker = bench();
    const transport = open(broker);
    const s = await sender(transport);
    const r = await receiver(transport);
    s.send(...messages(2));
    await settled();
    broker.removeGroup("orders", "billing");
    expect(r.seen).toEqual(["lost topology"]);
    await broker.idle();
    s.send(message("m3"));
    await settled();
    expect(s.seen.at(-1)).toBe("m3 unroutable");
  });
});
