import { describe, expect, it } from "vitest";
import { TallyError } from "@tallymq/core/spi";
import { MALFORMED, type Malformed } from "@tallymq/testkit/amqp-server";
import { message, messages, ORDERS, Sending, signal, Stage } from "./stage.ts";

/** The session ended: `lost` once and first, then doubt for each of these, in the same turn. */
async function expectLost(sending: Sending, ids: readonly string[]): Promise<void> {
  await sending.until("the loss", () => sending.losses.length > 0);
  expect(sending.losses).toHaveLength(1);
  const from = sending.journal.indexOf("lost");
  expect(sending.journal.slice(from)).toEqual(["lost", ...ids.map((id) => `${id} doubt`)]);
  for (const id of ids) expect(sending.error(id)).toMatchObject({ code: "in-doubt", mayArrive: true });
}

describe("the end of a session", () => {
  it("a channel closed by the broker puts the siblings in doubt, and the connection serves the next session", async () => {
    await using stage = await Stage.open({
      onPublish({ tag }, channel) {
        if (tag === 1) channel.ack(1);
        if (tag === 3) channel.close(404, "NOT_FOUND - no exchange 'orders'", "basic.publish");
      },
    });
    const sending = await stage.sender();
    sending.post(messages(3));
    await expectLost(sending, ["m2", "m3"]);
    expect(sending.kinds["m1"]).toBe("accepted");
    expect(sending.losses[0]!.message).toContain("NOT_FOUND");
    const next = await stage.sender();
    next.post([message(4)]);
    await next.count(1);
    expect(next.kinds).toEqual({ m4: "accepted" });
    expect(stage.server.connections).toHaveLength(1);
  });

  it("a message that is larger than the broker is set to take is refused, or it would end each session that it is sent in", async () => {
    await using stage = await Stage.open({
      onPublish({ body, tag }, channel) {
        if (body.length <= 100) return channel.ack(tag);
        const text = `PRECONDITION_FAILED - message size ${body.length} is larger than configured max size 100`;
        channel.close(406, text, "basic.publish");
      },
    });
    const sending = await stage.sender();
    const large = [2, 4].map((n) => message(n, { body: Buffer.alloc(101) }));
    sending.post([large[0]!, message(3, { body: Buffer.alloc(100) }), large[1]!]);
    await sending.count(3);
    expect(sending.journal).toEqual(["lost", "m2 refused", "m3 doubt", "m4 refused"]);
    expect(sending.error("m2")).toMatchObject({ code: "too-large", id: "m2", mayArrive: false });
  });

  it("what may not be written is asked for again, and not at once: each try ends the session for all topics", async () => {
    await using stage = await Stage.open({
      onPublish({ exchange, tag }, channel) {
        if (exchange === "orders") return tag === 1 ? channel.ack(1) : undefined;
        const text = "ACCESS_REFUSED - write access to exchange 'audit' in vhost '/' refused for user 'clerk'";
        channel.close(403, text, "basic.publish");
      },
    });
    const sending = await stage.sender();
    const audit = { ...ORDERS, name: "audit" };
    await stage.transport.admin.declare([audit], signal());
    const forbidden = { topic: "audit" };
    sending.post([message(1), message(2), message(3, forbidden), message(4, forbidden)]);
    await sending.count(4);
    expect(sending.journal).toEqual(["m1 accepted", "lost", "m2 doubt", "m3 later", "m4 later"]);
    expect(sending.error("m3")).toMatchObject({ code: "unauthorized", id: "m3", mayArrive: true, retryable: true });
    expect(sending.verdict("m3")).toMatchObject({ afterMs: 1_000 });
  });

  it("a connection closed by an operator says why", async () => {
    await using stage = await Stage.open({
      onPublish: (_, channel) => channel.connection.close(320, "CONNECTION_FORCED - by hand"),
    });
    const sending = await stage.sender();
    sending.post(messages(2));
    await expectLost(sending, ["m1", "m2"]);
    expect(sending.losses[0]).toMatchObject({
      code: "session-lost",
      retryable: true,
      message: expect.stringContaining("by hand") as string,
    });
  });

  for (const reset of [true, false]) {
    it(`a socket that ends (${reset ? "reset" : "end of stream"})`, async () => {
      await using stage = await Stage.open({ onPublish: (_, channel) => channel.connection.drop({ reset }) });
      const sending = await stage.sender();
      sending.post(messages(2));
      await expectLost(sending, ["m1", "m2"]);
    });
  }

  it("a connection that falls silent is given up within three heartbeats, and its socket with it", async () => {
    await using stage = await Stage.open(
      { onPublish: (_, channel) => channel.connection.freeze() },
      { heartbeat: "1s" },
    );
    const sending = await stage.sender();
    const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;
    const before = sockets();
    sending.post(messages(2));
    const since = performance.now();
    await expectLost(sending, ["m1", "m2"]);
    expect(performance.now() - since).toBeLessThan(3_300);
    // The server reads nothing: a polite end would leave our socket, and with it the process, waiting for its answer.
    await expect.poll(sockets).toBe(before - 1);
  });

  it("a session that is disposed of reports doubt and no loss, and is gone from the broker", async () => {
    await using stage = await Stage.open({ onPublish() {} });
    const sending = await stage.sender();
    sending.post(messages(2));
    await sending.sender[Symbol.asyncDispose]();
    await sending.sender[Symbol.asyncDispose]();
    expect(sending.journal).toEqual(["m1 doubt", "m2 doubt"]);
    expect(stage.server.methods("channel.close").length).toBeGreaterThan(0);
    sending.post([message(3)]);
    expect(sending.kinds["m3"]).toBe("unsent");
  });

  it("a retired session's confirms still count while its successor publishes", async () => {
    await using stage = await Stage.open({
      onPublish({ tag, properties }, channel) {
        if (properties.messageId === "m9") for (const other of channel.connection.channels.values()) other.ack(tag);
      },
    });
    const retired = await stage.sender();
    retired.post([message(1)]);
    await stage.server.publish(1);
    const successor = await stage.sender();
    successor.post([message(9)]);
    await Promise.all([retired.count(1), successor.count(1)]);
    expect([retired.kinds, successor.kinds]).toEqual([{ m1: "accepted" }, { m9: "accepted" }]);
  });

  it("a copy sent from within a verdict goes out", async () => {
    await using stage = await Stage.open({});
    const sending = await stage.sender();
    const { promise, resolve } = Promise.withResolvers<void>();
    sending.sender.send(0, [message(1)], () => sending.sender.send(0, [message(2)], () => resolve()));
    await promise;
    expect(stage.server.publishes.map((p) => p.properties.messageId)).toEqual(["m1", "m2"]);
  });
});

describe("unknown error code: surfaced, treated as in doubt", () => {
  it.each([299, 399, 599, 0])("%i", async (code) => {
    await using stage = await Stage.open({
      onPublish: ({ tag }, channel) => void (tag === 2 && channel.close(code, "NOBODY KNOWS", "basic.publish")),
    });
    const sending = await stage.sender();
    sending.post(messages(2));
    await expectLost(sending, ["m1", "m2"]);
    expect(sending.losses[0]).toMatchObject({ code: "session-lost", retryable: true });
    expect(sending.losses[0]!.message).toContain("NOBODY KNOWS");
  });
});

describe("a publish cut after any byte", () => {
  it("ends in doubt or was accepted; the broker has it or not, and says nothing false", async () => {
    const one = [message(1, { key: "k", headers: { a: "b" } })];
    // The length of the frames on the wire: counted once, from a cut beyond the end.
    let length = 0;
    {
      await using stage = await Stage.open({});
      const sending = await stage.sender();
      length = 230;
      sending.post(one);
      await sending.count(1);
    }
    for (let bytes = 0; bytes <= length; bytes += 1) {
      await using stage = await Stage.open({
        onPublish({ tag }, channel) {
          channel.ack(tag);
        },
      });
      const sending = await stage.sender();
      // All earlier frames of this connection are answered, so the next byte is the publish's.
      stage.server.connection.dropAfterReceiving(bytes);
      sending.post(one);
      await sending.count(1);
      const stored = stage.server.publishes.length;
      const kind = sending.kinds["m1"];
      expect([bytes, stored, kind]).toEqual([
        bytes,
        stored,
        stored === 1 && kind === "accepted" ? "accepted" : "doubt",
      ]);
      expect(sending.losses.length).toBeLessThanOrEqual(1);
    }
  }, 60_000);
});

describe("4 GiB frame header, random frame bytes: refused, connection closed, no crash", () => {
  for (const name of Object.keys(MALFORMED) as Malformed[]) {
    it(`${name}: the session ends or goes on, and nothing is accepted falsely`, async () => {
      await using stage = await Stage.open(
        { onPublish: (_, channel) => channel.connection.sendMalformed(name, channel.id) },
        { heartbeat: "1s" },
      );
      const sending = await stage.sender();
      sending.post(messages(1));
      // Some of it is only half a frame for the driver: then the silence after it ends the session.
      setTimeout(() => stage.server.connections[0]!.state === "open" && stage.server.connection.drop(), 500);
      await sending.count(1);
      // Some of these hold a confirm of tag 1, in a frame that is otherwise broken.
      expect(sending.kinds["m1"]).toBe("doubt");
      expect(sending.losses).toHaveLength(1);
      expect(TallyError.is(sending.losses[0])).toBe(true);
    });
  }

  it("noise: whatever comes, the process lives and each copy has one verdict", async () => {
    let seed = 7;
    const random = (): number => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff) / 0x7fffffff;
    for (let run = 0; run < 40; run++) {
      await using stage = await Stage.open({
        onPublish(_, channel) {
          const noise = Uint8Array.from({ length: 1 + Math.floor(random() * 60) }, () => Math.floor(random() * 256));
          if (random() < 0.5) channel.connection.sendFrame(1 + Math.floor(random() * 3), channel.id, noise);
          else channel.connection.sendRaw(noise);
          channel.connection.drop({ reset: false });
        },
      });
      const sending = await stage.sender();
      sending.post(messages(3));
      await sending.count(3);
      expect(Object.values(sending.kinds)).toEqual(["doubt", "doubt", "doubt"]);
    }
  }, 30_000);
});

describe("an alarm", () => {
  it("is told, stops sending, and its end is told", async () => {
    await using stage = await Stage.open({
      onPublish: ({ tag }, channel) => (tag === 1 ? channel.connection.blocked("low on memory") : channel.ack(tag)),
    });
    const sending = await stage.sender();
    sending.post([message(1)]);
    await sending.until("blocked", () => sending.journal.includes("blocked: low on memory"));
    sending.post([message(2)]);
    expect(sending.error("m2")).toMatchObject({
      code: "unsent",
      mayArrive: false,
      message: expect.stringContaining("low on memory") as string,
    });
    stage.server.connection.unblocked();
    await sending.until("unblocked", () => sending.journal.includes("unblocked"));
    sending.post([message(3)]);
    await sending.until("a verdict", () => sending.verdicts.has("m3"));
    expect(sending.kinds).toEqual({ m2: "unsent", m3: "accepted" });
    expect(stage.server.publishes.map((p) => p.properties.messageId)).toEqual(["m1", "m3"]);
  });

  it.each(["before", "after"])(
    "a session is disposed of without waiting for its end (blocked %s the request)",
    async (when) => {
      await using stage = await Stage.open({
        onPublish: (_, channel) => (when === "before" ? channel.connection.blocked("low on memory") : undefined),
        onMethod(method, connection) {
          // The declaration's channel, which was closed before, carried no publish.
          if (method.name !== "channel.close" || stage.server.publishes.length === 0) return;
          if (when === "after") connection.blocked("low on memory");
          return "handled";
        },
      });
      const second = await stage.sender();
      second.post([message(1)]);
      if (when === "before") await second.until("blocked", () => second.journal.length > 0);
      else await stage.server.publish(1);
      await second.sender[Symbol.asyncDispose]();
      expect(second.kinds).toEqual({ m1: "doubt" });
    },
  );

  it("a session that opens meanwhile waits for its end, and can be given up", async () => {
    await using stage = await Stage.open({ onPublish: (_, channel) => channel.connection.blocked("low on disk") });
    const first = await stage.sender();
    first.post([message(1)]);
    await first.until("blocked", () => first.journal.length > 0);
    const channels = stage.server.methods("channel.open").length;
    await expect(stage.transport.openSender(new Sending(), AbortSignal.timeout(50))).rejects.toThrow();
    const opening = stage.transport.openSender(new Sending(), signal());
    stage.server.connection.unblocked();
    await opening;
    // Given up while waiting: no channel was opened for it, then or later.
    expect(stage.server.methods("channel.open").length).toBe(channels + 1);
  });
});
