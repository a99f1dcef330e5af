import { memory, type MemoryBroker, type MemoryOptions } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { message, messages, NEVER, open, ORDERS, receiver, sender, settled } from "../support/harness.ts";

function bench(options?: MemoryOptions): MemoryBroker {
  const broker = memory(options);
  broker.declare(ORDERS);
  return broker;
}

describe("sending", () => {
  it("gives no verdict from within send, and all of them in the order of sending", async () => {
    const s = await sender(open(bench()));
    const ten = messages(10);
    s.send(...ten.slice(0, 4));
    s.send(...ten.slice(4));
    expect(s.seen).toEqual([]);
    await settled();
    expect(s.seen).toEqual(ten.map((m) => `${m.id} accepted`));
    expect(s.verdicts.get("m1")).toEqual([
      { kind: "accepted", proof: { routed: "yes", persisted: "no", replicated: "no" } },
    ]);
  });

  it("reports a topic without a group as unroutable and stores nothing", async () => {
    const broker = memory();
    const s = await sender(open(broker));
    s.send(message("a"));
    broker.declare({ ...ORDERS, groups: [] });
    s.send(message("b"));
    await settled();
    expect(s.seen).toEqual(["a unroutable", "b unroutable"]);
    broker.declare(ORDERS);
    s.send(message("c"));
    await settled();
    expect(s.seen.at(-1)).toBe("c accepted");
    expect(broker.messages("orders", "billing").map((q) => q.message.id)).toEqual(["c"]);
  });

  it("nacks what a full group has no room for, and takes it when there is room again", async () => {
    const broker = bench({ maxBacklog: 2 });
    const transport = open(broker);
    const s = await sender(transport);
    s.send(...messages(3));
    await settled();
    expect(s.seen).toEqual(["m1 accepted", "m2 accepted", "m3 later"]);
    const r = await receiver(transport, { onDeliver: (batch, self) => self.ack(...batch) });
    await settled();
    s.send(message("m3"));
    await settled();
    expect(s.seen.at(-1)).toBe("m3 accepted");
    expect(r.ids()).toEqual(["m1", "m2", "m3"]);
  });

  it("stores all groups or none: one full group refuses the message for the others too", async () => {
    const broker = memory({ maxBacklog: 1 });
    const plan = { ...ORDERS, groups: ["billing", "audit"] };
    broker.declare(plan);
    const transport = open(broker);
    const s = await sender(transport);
    await receiver(transport, { topic: plan, group: "audit", onDeliver: (batch, self) => self.ack(...batch) });
    s.send(...messages(1));
    await settled();
    s.send(message("m2"));
    await settled();
    expect(s.seen).toEqual(["m1 accepted", "m2 later"]);
    expect(await transport.admin.backlog("orders", "audit", NEVER)).toBe(0);
  });

  it("refuses a body over 16 MiB and takes its siblings", async () => {
    const s = await sender(open(bench()));
    s.send(
      message("a"),
      message("big", { body: new Uint8Array(16 * 1024 * 1024 + 1) }),
      message("max", { body: new Uint8Array(16 * 1024 * 1024) }),
    );
    await settled();
    expect(s.seen).toEqual(["a accepted", "big refused", "max accepted"]);
    expect(s.verdicts.get("big")?.[0]).toMatchObject({ error: { code: "too-large", mayArrive: false } });
  });

  it("holds back what is sent while blocked, and sends it after", async () => {
    const broker = bench();
    const s = await sender(open(broker));
    broker.faults.block("memory alarm");
    s.send(...messages(2));
    await settled();
    expect(s.seen).toEqual(["blocked memory alarm"]);
    const late = await sender(open(broker));
    expect(late.seen).toEqual(["blocked memory alarm"]);
    broker.faults.unblock();
    await settled();
    expect(s.seen).toEqual(["blocked memory alarm", "unblocked", "m1 accepted", "m2 accepted"]);
  });

  it("says lost first and then gives every open copy its verdict, in the same tick", async () => {
    const broker = bench();
    const s = await sender(open(broker));
    s.send(...messages(3));
    broker.faults.loseSessions();
    expect(s.seen).toEqual(["lost session-lost", "m1 doubt", "m2 doubt", "m3 doubt"]);
    expect(s.verdicts.get("m1")?.[0]).toMatchObject({ error: { mayArrive: true } });
    s.send(message("after"));
    await settled();
    expect(s.seen.slice(4)).toEqual(["after unsent"]);
  });

  it("has never sent what a block held back when the session is lost", async () => {
    const broker = bench();
    const s = await sender(open(broker));
    broker.faults.on("send", 2).block();
    s.send(...messages(3));
    await settled();
    broker.faults.loseSessions();
    expect(s.seen.slice(-3)).toEqual(["lost session-lost", "m2 unsent", "m3 unsent"]);
  });

  it("gives doubt without lost when it is disposed of with open copies", async () => {
    const s = await sender(open(bench()));
    s.send(message("a"));
    const disposed = s.sender[Symbol.asyncDispose]();
    expect(s.seen).toEqual(["a doubt"]);
    await disposed;
    await s.sender[Symbol.asyncDispose]();
    await settled();
    expect(s.seen).toEqual(["a doubt"]);
  });
});
