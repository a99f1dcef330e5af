import { statSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { memory, startMemoryBroker } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { processes } from "../support/processes.ts";
import { code, message, messages, NEVER, ORDERS, receiver, sender, text, until } from "../support/harness.ts";

const home = processes();
const { start, transport, declared } = home;

describe("a broker process", () => {
  it("confirms in the order of sending, says that it is on the disk, and delivers every field", async () => {
    const broker = await start();
    const t = await declared();
    const s = await sender(t);
    const sent = [
      message("a", {
        key: "k",
        type: "t",
        correlationId: "c",
        causationId: "d",
        attempt: 3,
        headers: { traceparent: "00-1", ["__proto__"]: "p", ü: "☃" },
        body: new Uint8Array([0, 255, 3]),
      }),
      ...messages(20),
    ];
    s.send(...sent.slice(0, 5));
    s.send(...sent.slice(5));
    await s.all(sent);
    expect(s.seen).toEqual(sent.map((m) => `${m.id} accepted`));
    expect(s.verdicts.get("a")).toEqual([
      { kind: "accepted", proof: { routed: "yes", persisted: "yes", replicated: "no" } },
    ]);
    const r = await receiver(t);
    await until(() => r.got.length === 21);
    const { ordered, native, group, delayMs, headers, ...fields } = sent[0]!;
    expect([ordered, native, group, delayMs]).toEqual([false, null, null, 0]);
    expect(r.got[0]).toMatchObject({ lane: 0, place: null, count: 1, message: fields });
    expect(Object.entries(r.got[0]!.message.headers)).toEqual(Object.entries(headers));
    expect(Object.getPrototypeOf(r.got[0]!.message.headers)).toBe(null);
    expect(r.ids()).toEqual(sent.map((m) => m.id));
    r.ack(...r.got);
    await broker.idle();
    expect(await t.admin.backlog("orders", "billing", NEVER)).toBe(0);
  });

  it("reports unroutable, full and too large without ending the session", async () => {
    await start({ maxBacklog: 1 });
    const t = await declared();
    const s = await sender(t);
    const batch = [
      message("nowhere", { topic: "nowhere" }),
      message("big", { body: new Uint8Array(16 * 1024 * 1024 + 1) }),
      message("ok"),
      message("full"),
    ];
    s.send(...batch);
    await s.all(batch);
    expect(s.seen.toSorted()).toEqual(["big refused", "full later", "nowhere unroutable", "ok accepted"]);
  });

  it("carries a body of 16 MiB", async () => {
    await start();
    const t = await declared();
    const s = await sender(t);
    const body = new Uint8Array(16 * 1024 * 1024).map((_, i) => i * 7);
    const batch = [message("max", { body }), message("next")];
    s.send(...batch);
    await s.all(batch);
    expect(s.seen).toEqual(["max accepted", "next accepted"]);
    const r = await receiver(t);
    await until(() => r.got.length === 2);
    expect(Buffer.compare(r.got[0]!.message.body, body)).toBe(0);
  });

  it("keeps credit, counts redeliveries, releases at once and after a delay, and dead-letters", async () => {
    const broker = await start({ deliveryLimit: 3 });
    const t = await declared();
    const s = await sender(t);
    s.send(...messages(3));
    const r = await receiver(t, { credit: 1 });
    await until(() => r.got.length === 1);
    r.release(r.got[0]!);
    await until(() => r.got.length === 2);
    r.release(r.got[1]!, 30);
    await until(() => r.got.length === 3);
    expect(r.got.map((d) => `${d.message.id}×${d.count}`)).toEqual(["m1×1", "m1×2", "m2×1"]);
    r.ack(r.got[2]!);
    r.ack(r.got[2]!);
    await until(() => r.seen.length === 1);
    expect(r.seen[0]).toContain("settled twice");
    await until(() => r.got.length >= 4);
    for (let i = 3; i < 5; i++) {
      await until(() => r.got.length > i);
      const d = r.got[i]!;
      if (d.message.id === "m1") r.release(d);
      else r.ack(d);
    }
    await broker.idle();
    expect((await broker.deadLetters("orders", "billing")).map((m) => text(m.body))).toEqual(["body of m1"]);
    await broker.kill();
    await broker.restart();
    // That it was dead-lettered may not have been synced at the kill; the message was, long before, and is in one of them.
    const left = [
      ...(await broker.deadLetters("orders", "billing")).map((m) => m.id),
      ...(await broker.messages("orders", "billing")).map((q) => q.message.id),
    ];
    expect(left).toEqual(["m1"]);
  });

  it("flushes settlements before a receiver leaves, and returns the rest to their old place", async () => {
    const broker = await start();
    const t = await declared();
    const s = await sender(t);
    s.send(...messages(4));
    const a = await receiver(t);
    await until(() => a.got.length === 4);
    a.ack(a.got[1]!);
    // Whoever asks while it is leaving waits as well, and is not left waiting.
    await Promise.all([a.receiver[Symbol.asyncDispose](), a.receiver[Symbol.asyncDispose]()]);
    await a.receiver[Symbol.asyncDispose]();
    expect(
      (await broker.messages("orders", "billing")).map((q) => `${q.message.id} ${q.state} ${q.deliveries}`),
    ).toEqual(["m1 waiting 1", "m3 waiting 1", "m4 waiting 1"]);
    const b = await receiver(t);
    await until(() => b.got.length === 3);
    expect(b.ids()).toEqual(["m1", "m3", "m4"]);
  });

  it("delivers nothing while paused or after stop", async () => {
    await start();
    const t = await declared();
    const s = await sender(t);
    const r = await receiver(t);
    r.receiver.pause(0);
    const three = messages(3);
    s.send(...three);
    await s.all(three);
    await t.admin.backlog("orders", "billing", NEVER);
    expect(r.got).toEqual([]);
    r.receiver.resume(0);
    await until(() => r.got.length === 3);
    await r.receiver.stop();
    r.receiver.resume(0);
    const more = messages(1, "n");
    s.send(...more);
    await s.all(more);
    r.ack(...r.got);
    await r.receiver[Symbol.asyncDispose]();
    expect(r.got.length).toBe(3);
    expect(await t.admin.backlog("orders", "billing", NEVER)).toBe(1);
  });

  it("tells senders that it is blocked, reads nothing meanwhile, and goes on after", async () => {
    const broker = await start();
    const t = await declared();
    const s = await sender(t);
    await broker.block("disk alarm");
    await until(() => s.seen.length === 1);
    const two = messages(2);
    s.send(...two);
    expect(await t.admin.backlog("orders", "billing", NEVER)).toBe(0);
    expect(s.seen).toEqual(["blocked disk alarm"]);
    await broker.unblock();
    await s.all(two);
    expect(s.seen).toEqual(["blocked disk alarm", "unblocked", "m1 accepted", "m2 accepted"]);
  });

  it("puts what was open in doubt when its connection is cut, after saying that it is lost", async () => {
    const broker = await start();
    const t = await declared();
    const s = await sender(t);
    const r = await receiver(t);
    await broker.block("so that nothing gets a verdict");
    s.send(...messages(2));
    expect(await broker.cutConnections()).toBe(2);
    await until(() => s.seen.length === 4 && r.seen.length === 1);
    expect(s.seen.slice(1)).toEqual(["lost session-lost", "m1 doubt", "m2 doubt"]);
    expect(r.seen).toEqual(["lost session-lost"]);
    s.send(message("after"));
    await until(() => s.seen.length === 5);
    expect(s.seen[4]).toBe("after unsent");
  });

  it("is unreachable while it is dead, and not at all a broker when something else listens", async () => {
    const broker = await start();
    await broker.kill();
    expect(broker.pid).toBe(null);
    expect(await code(sender(transport()))).toBe("unreachable");
    expect(await code(transport().admin.declare([ORDERS], NEVER))).toBe("unreachable");
    const other = createServer((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n")).listen(
      join(home.dir, "other"),
    );
    try {
      expect(await code(sender(transport(`unix:${join(home.dir, "other")}`)))).toBe("unreachable");
    } finally {
      other.close();
    }
  });

  it("gives up opening when its signal fires", async () => {
    const silent = createServer(() => {}).listen(join(home.dir, "silent"));
    const events = { blocked() {}, unblocked() {}, retired() {}, lost() {}, surfaced() {} };
    const stop = new AbortController();
    const opening = transport(`unix:${join(home.dir, "silent")}`).openSender(events, stop.signal);
    setImmediate(() => stop.abort(new Error("enough")));
    await expect(opening).rejects.toThrow("enough");
    silent.close();
  });

  it("refuses what contradicts a declaration, and a group that does not exist", async () => {
    await start();
    const t = await declared();
    expect(await code(t.admin.declare([{ ...ORDERS, ordered: true }], NEVER))).toBe("topology");
    expect(await code(receiver(t, { group: "nobody" }))).toBe("topology");
    expect(await code(t.admin.backlog("nowhere", "billing", NEVER))).toBe("topology");
  });

  it("listens on loopback and unix sockets only", async () => {
    for (const bad of [
      "0.0.0.0:4555",
      "192.168.1.1:4555",
      "example.com:4555",
      "[::]:4555",
      ":4555",
      "4555",
      "127.0.0.1:0",
      "127.0.0.1:70000",
      "127.0.0.1:",
      "unix:relative",
      "unix:",
      `unix:/${"x".repeat(200)}`,
    ]) {
      expect([bad, await code(() => memory({ at: bad }))]).toEqual([bad, "bad-config"]);
      expect([bad, await code(startMemoryBroker({ at: bad, dataDir: home.dir }))]).toEqual([bad, "bad-config"]);
    }
  });

  it("makes its socket, directory and files for their owner only", async () => {
    await start();
    expect(statSync(join(home.dir, "s")).mode & 0o777).toBe(0o600);
    expect(statSync(join(home.dir, "data")).mode & 0o777).toBe(0o700);
    expect(statSync(join(home.dir, "data", "messages.log")).mode & 0o777).toBe(0o600);
  });

  it("serves a loopback port", async () => {
    const probe = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => probe.once("listening", resolve));
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    await start({ at: `127.0.0.1:${port}` });
    const t = await declared(transport(`localhost:${port}`));
    const s = await sender(t);
    const two = messages(2);
    s.send(...two);
    await s.all(two);
    expect(s.seen).toEqual(["m1 accepted", "m2 accepted"]);
  });

  it("does not start twice on one directory or one address", async () => {
    const first = await start();
    expect(await code(startMemoryBroker({ at: `unix:${join(home.dir, "t")}`, dataDir: join(home.dir, "data") }))).toBe(
      "bad-config",
    );
    expect(await code(startMemoryBroker({ at: home.at, dataDir: join(home.dir, "other") }))).toBe("bad-config");
    await first.kill();
    await first.restart();
    expect(first.pid).not.toBe(null);
  });
});
