import { TallyError } from "@tallymq/core/spi";
import { type FaultPoint, memory, type MemoryBroker, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { code, message, messages, NEVER, open, ORDERS, receiver, sender, settled } from "./support/harness.ts";

function bench(): MemoryBroker {
  const broker = memory();
  broker.declare(ORDERS);
  return broker;
}
const stored = (broker: MemoryBroker): (string | null)[] =>
  broker.messages("orders", "billing").map((q) => q.message.id);

describe("faults on sending", () => {
  it("drops the verdict of the n-th copy from now; it is stored, and in doubt when the session ends", async () => {
    const broker = bench();
    const s = await sender(open(broker));
    s.send(message("before"));
    await settled();
    broker.faults.on("send", 2).dropVerdict();
    s.send(...messages(3));
    await settled();
    expect(s.seen).toEqual(["before accepted", "m1 accepted", "m3 accepted"]);
    expect(stored(broker)).toEqual(["before", "m1", "m2", "m3"]);
    await s.sender[Symbol.asyncDispose]();
    expect(s.seen.at(-1)).toBe("m2 doubt");
  });

  it("nacks, returns and refuses without storing", async () => {
    const broker = bench();
    const s = await sender(open(broker));
    broker.faults.on("send", 1).nack(70);
    broker.faults.on("send", 2).returnUnroutable();
    broker.faults.on("send", 3).refuse(new TallyError("too-large", "so it says"));
    broker.faults.on("send", 4).refuse();
    s.send(...messages(5));
    await settled();
    expect(s.seen).toEqual(["m1 later", "m2 unroutable", "m3 refused", "m4 refused", "m5 accepted"]);
    expect(s.verdicts.get("m1")?.[0]).toMatchObject({ afterMs: 70 });
    expect(s.verdicts.get("m3")?.[0]).toMatchObject({ error: { code: "too-large" } });
    expect(stored(broker)).toEqual(["m5"]);
  });

  it("delays one verdict; later ones pass it", async () => {
    const clock = virtualClock();
    const broker = bench();
    const s = await sender(open(broker, clock));
    broker.faults.on("send", 1).delayVerdict(1_000);
    s.send(...messages(2));
    await clock.advance(999);
    expect(s.seen).toEqual(["m2 accepted"]);
    await clock.advance(1);
    expect(s.seen).toEqual(["m2 accepted", "m1 accepted"]);
    expect(clock.pending()).toBe(0);
  });

  it("gives a delayed verdict no second time after the session was lost", async () => {
    const clock = virtualClock();
    const broker = bench();
    const s = await sender(open(broker, clock));
    broker.faults.on("send").delayVerdict(1_000);
    s.send(...messages(1));
    await settled();
    broker.faults.loseSessions();
    await clock.advance(2_000);
    expect(s.seen).toEqual(["lost session-lost", "m1 doubt"]);
  });

  it("loses the session after or before storing; what follows never arrived", async () => {
    const broker = bench();
    const transport = open(broker);
    const a = await sender(transport);
    broker.faults.on("send", 2).loseSession();
    a.send(...messages(3, "a"));
    await settled();
    expect(a.seen).toEqual(["a1 accepted", "lost session-lost", "a2 doubt", "a3 doubt"]);
    const b = await sender(transport);
    broker.faults.on("send", 1).loseSession({ stored: false });
    b.send(...messages(1, "b"));
    await settled();
    expect(b.seen).toEqual(["lost session-lost", "b1 doubt"]);
    expect(stored(broker)).toEqual(["a1", "a2"]);
  });

  it("strikes every k-th copy until cleared", async () => {
    const broker = bench();
    const s = await sender(open(broker));
    broker.faults.every("send", 3).nack();
    s.send(...messages(7));
    await settled();
    expect(s.seen.filter((x) => x.endsWith("later"))).toEqual(["m3 later", "m6 later"]);
    broker.faults.clear();
    s.send(...messages(7));
    await settled();
    expect(s.seen.filter((x) => x.endsWith("later")).length).toBe(2);
  });
});

describe("faults on receiving", () => {
  it("delivers a message twice", async () => {
    const broker = bench();
    const transport = open(broker);
    const r = await receiver(transport);
    broker.faults.on("deliver", 2).duplicateDelivery();
    const s = await sender(transport);
    s.send(...messages(3));
    await settled();
    expect(r.ids().toSorted()).toEqual(["m1", "m2", "m2", "m3"]);
    expect(r.got.filter((d) => d.message.id === "m2").map((d) => d.count)).toEqual([1, 2]);
    r.ack(...r.got);
    await broker.idle();
    expect(r.seen).toEqual([]);
  });

  it("drops a settlement: the delivery stays out, and comes again after the session", async () => {
    const broker = bench();
    const transport = open(broker);
    const r = await receiver(transport, { onDeliver: (batch, self) => self.ack(...batch) });
    broker.faults.on("settle", 2).dropSettlement();
    const s = await sender(transport);
    s.send(...messages(3));
    await settled();
    expect(broker.messages("orders", "billing")).toMatchObject([{ message: { id: "m2" }, state: "unsettled" }]);
    await r.receiver[Symbol.asyncDispose]();
    const again = await receiver(transport);
    await settled();
    expect(again.got).toMatchObject([{ count: 2, message: { id: "m2" } }]);
  });

  it("rejects a settlement: the receiver is told, and the delivery comes again", async () => {
    const broker = bench();
    const transport = open(broker);
    const r = await receiver(transport, { onDeliver: (batch, self) => self.ack(...batch) });
    broker.faults.on("settle").rejectSettlement();
    const s = await sender(transport);
    s.send(...messages(1));
    await settled();
    await broker.idle();
    expect(r.seen).toEqual(["unsettled m1"]);
    expect(r.got.map((d) => d.count)).toEqual([1, 2]);
  });

  it("loses a receiver's session before a delivery, or before a settlement", async () => {
    const broker = bench();
    const transport = open(broker);
    const s = await sender(transport);
    s.send(...messages(2));
    broker.faults.on("deliver", 2).loseSession();
    const a = await receiver(transport);
    await settled();
    expect([a.ids(), a.seen]).toEqual([["m1"], ["lost session-lost"]]);
    const b = await receiver(transport);
    await settled();
    broker.faults.on("settle").loseSession();
    b.ack(b.got[0]!, b.got[1]!);
    expect(b.seen).toEqual([]);
    await settled();
    expect(b.seen).toEqual(["lost session-lost"]);
    expect(await transport.admin.backlog("orders", "billing", NEVER)).toBe(2);
  });
});

describe("faults on opening", () => {
  it("fails the next n attempts, then lets them pass", async () => {
    const broker = bench();
    const transport = open(broker);
    broker.faults.on("open").fail(2);
    expect(await code(sender(transport))).toBe("unreachable");
    expect(await code(receiver(transport))).toBe("unreachable");
    await sender(transport);
    broker.faults.on("openReceiver", 2).fail(1, new TallyError("unauthorized", "no"));
    await sender(transport);
    await receiver(transport);
    expect(await code(receiver(transport))).toBe("unauthorized");
    broker.faults.on("declare").fail();
    expect(await code(transport.admin.declare([ORDERS], NEVER))).toBe("unreachable");
  });

  it("hangs until its signal fires", async () => {
    const broker = bench();
    const transport = open(broker);
    broker.faults.on("openSender").hang();
    const stop = new AbortController();
    const events = { blocked() {}, unblocked() {}, retired() {}, lost() {}, surfaced() {} };
    const opening = transport.openSender(events, stop.signal);
    stop.abort(new TallyError("aborted", "enough"));
    expect(await code(opening)).toBe("aborted");
  });
});

describe("the script", () => {
  it("records each fault that struck, and says what is still pending", async () => {
    const clock = virtualClock();
    const broker = bench();
    const s = await sender(open(broker, clock));
    await clock.advance(40);
    broker.faults.on("send", 2).nack();
    broker.faults.on("send", 9).nack();
    s.send(...messages(2));
    await settled();
    expect(broker.faults.fired).toEqual([{ point: "send", action: "nack", nth: 2, at: 40, id: "m2" }]);
    expect(broker.faults.pending).toBe(1);
  });

  it("takes no unknown point, no action of another point, and no n below 1", () => {
    const { faults } = bench();
    // @ts-expect-error no such point
    expect(() => faults.on("sned")).toThrow();
    // @ts-expect-error a delivery has no verdict
    expect(faults.on("deliver").dropVerdict).toBeUndefined();
    const points: Record<FaultPoint, true> = {
      send: true,
      deliver: true,
      settle: true,
      open: true,
      openSender: true,
      openReceiver: true,
      declare: true,
    };
    for (const point of Object.keys(points)) expect(() => faults.on(point as FaultPoint, 0)).toThrow(RangeError);
  });
});
