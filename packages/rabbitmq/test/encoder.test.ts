import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Outgoing } from "@tallymq/core/spi";
import { message, ORDERS, RUN, signal, Stage } from "./stage.ts";

async function sent(
  given: Partial<Outgoing>,
  options: Parameters<typeof Stage.open>[1] = {},
  server: Parameters<typeof Stage.open>[2] = {},
) {
  await using stage = await Stage.open({}, options, server);
  const sending = await stage.sender();
  sending.post([message(7, given)]);
  await sending.count(1);
  return { publish: stage.server.publishes[0], sending };
}

describe("what a message looks like on the wire", () => {
  it("is persistent and mandatory, with the envelope in AMQP's own properties", async () => {
    const { publish } = await sent({ time: 1_700_000_000_999 });
    expect(publish).toMatchObject({ exchange: "orders", routingKey: "", mandatory: true, immediate: false });
    expect(publish!.properties).toEqual({
      deliveryMode: 2,
      messageId: "m7",
      appId: "shop",
      type: "order",
      contentType: "application/json",
      timestamp: expect.anything(),
      headers: expect.anything(),
    });
    expect(Number(publish!.properties.timestamp)).toBe(1_700_000_000);
    expect({ ...publish!.headers }).toEqual({ "tally-seq": `${RUN}/7` });
    expect(publish!.body.toString()).toBe("body 7");
  });

  it("carries what there is beside that, and nothing else", async () => {
    const { publish } = await sent({
      key: "k€y",
      attempt: 3,
      correlationId: "c",
      causationId: "d",
      contentEncoding: "gzip",
      type: null,
      headers: { a: "b", ü: "", constructor: "x" },
      native: { priority: 9, expiration: 1_500, replyTo: "answers", routingKey: "blue" },
    });
    expect(publish!.routingKey).toBe("blue");
    expect(publish!.properties).toMatchObject({
      correlationId: "c",
      contentEncoding: "gzip",
      priority: 9,
      expiration: "1500",
      replyTo: "answers",
    });
    expect(publish!.properties.type).toBeUndefined();
    expect(Object.entries(publish!.headers)).toEqual([
      ["tally-seq", `${RUN}/7`],
      ["tally-key", "k€y"],
      ["tally-attempt", "3"],
      ["tally-causation-id", "d"],
      ["a", "b"],
      ["ü", ""],
      ["constructor", "x"],
    ]);
  });

  it.each([8_192, 131_072])(
    "bodies of every size around a frame of %i and a chunk arrive whole, in order",
    async (frameMax) => {
      await using stage = await Stage.open({}, { frameMax });
      const sending = await stage.sender();
      const around = (size: number): number[] => [size - 1, size, size + 1];
      const sizes = [
        0,
        1,
        ...[16_384, 65_536, frameMax - 8, 2 * (frameMax - 8)].flatMap(around),
        3,
        1_000_000,
        70_000,
        0,
      ];
      const batch = sizes.map((size, i) => message(i + 1, { body: Buffer.alloc(size, i + 1) }));
      sending.post(batch);
      await sending.count(sizes.length);
      expect(stage.server.publishes.map((p) => p.body.length)).toEqual(sizes);
      expect(stage.server.publishes.every((p, i) => p.body.equals(batch[i]!.body))).toBe(true);
    },
  );

  it("any texts survive, whatever their length and letters", async () => {
    await using stage = await Stage.open({});
    const sending = await stage.sender();
    const text = (max: number) =>
      fc.string({ unit: "grapheme", maxLength: max }).filter((s) => Buffer.byteLength(s) <= 255 && s.isWellFormed());
    let n = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          id: text(80).filter((s) => s !== ""),
          key: fc.option(text(80)),
          correlationId: fc.option(text(80)),
          type: fc.option(text(80)),
          headers: fc.dictionary(
            text(30),
            fc.string({ unit: "grapheme", maxLength: 200 }).filter((s) => s.isWellFormed()),
            { maxKeys: 5, noNullPrototype: true },
          ),
          body: fc.uint8Array({ maxLength: 3_000 }),
        }),
        async (given) => {
          fc.pre(!Object.keys(given.headers).some((name) => ["CC", "BCC", "__proto__"].includes(name)));
          const publishes = stage.server.publishes.length;
          sending.post([message(++n, { ...given, id: `${given.id}` })]);
          await stage.server.publish(publishes + 1);
          const got = stage.server.publishes[publishes]!;
          expect(got.properties.messageId).toBe(given.id);
          expect(got.properties.correlationId ?? null).toBe(given.correlationId);
          expect(got.properties.type ?? null).toBe(given.type);
          expect(got.headers["tally-key"] ?? null).toBe(given.key);
          expect(got.headers["tally-seq"]).toBe(`${RUN}/${n}`);
          const { ["tally-key"]: _key, ["tally-seq"]: _seq, ...own } = got.headers;
          expect({ ...own }).toEqual(given.headers);
          expect(Buffer.compare(got.body, given.body)).toBe(0);
        },
      ),
      { numRuns: 150 },
    );
    expect(sending.losses).toEqual([]);
  });
});

describe("what would end the channel is refused alone, and its siblings go out", () => {
  const long = "x".repeat(256);
  const cases: readonly (readonly [string, Partial<Outgoing>])[] = [
    ["an expiration beyond the broker's timer", { native: { expiration: 4_294_967_296 } }],
    ["a priority of 256", { native: { priority: 256 } }],
    ["a priority that is no number", { native: { priority: "high" } }],
    ["an exchange that nobody declared", { native: { exchange: "nowhere" } }],
    ["a user id", { native: { userId: "mallory" } }],
    ["direct reply-to", { native: { replyTo: "amq.rabbitmq.reply-to" } }],
    ["a header named CC", { headers: { CC: "somewhere" } }],
    ["a header named BCC", { headers: { BCC: "somewhere" } }],
    ["a header's name of 256 bytes", { headers: { [long]: "" } }],
    ["a correlation id of 256 bytes", { correlationId: long }],
    ["an id of 256 bytes", { id: long }],
    ["a type of 256 bytes", { type: long }],
    ["headers larger than a frame", { headers: { a: "x".repeat(140_000) } }],
    ["a body of 16 MiB and a byte", { body: new Uint8Array(16 * 1024 * 1024 + 1) }],
  ];
  for (const [name, given] of cases) {
    it(name, async () => {
      await using stage = await Stage.open({});
      const sending = await stage.sender();
      const bad = message(2, { id: "bad", ...given });
      sending.post([message(1), bad, message(3)]);
      await sending.count(3);
      expect(sending.kinds).toEqual({ m1: "accepted", [bad.id]: "refused", m3: "accepted" });
      expect(stage.server.publishes.map((p) => p.properties.messageId)).toEqual(["m1", "m3"]);
      const error = sending.error(bad.id);
      expect([error.code, error.id, error.mayArrive]).toEqual([
        name.startsWith("a body") ? "too-large" : "bad-message",
        bad.id,
        false,
      ]);
      expect(sending.losses).toEqual([]);
    });
  }

  it("headers larger than a small frame of this connection", async () => {
    await using stage = await Stage.open({}, {}, { frameMax: 8_192 });
    const sending = await stage.sender();
    sending.post([
      message(1),
      message(2, { headers: { a: "x".repeat(8_192) } }),
      message(3, { headers: { a: "x".repeat(7_900) } }),
    ]);
    await sending.count(3);
    expect(sending.kinds).toEqual({ m1: "accepted", m2: "refused", m3: "accepted" });
  });

  it("a topic that was not declared is not sent at all", async () => {
    await using stage = await Stage.open({});
    const sending = await stage.sender();
    sending.post([message(1), message(2, { topic: "elsewhere" })]);
    await sending.count(2);
    expect(sending.kinds).toEqual({ m1: "accepted", m2: "unsent" });
    expect(sending.error("m2").code).toBe("topology");
  });
});

describe("options of the connection", () => {
  it("frame size, heartbeat and a name without secrets are agreed on", async () => {
    await using stage = await Stage.open({}, { heartbeat: "3s", frameMax: 16_384 });
    await stage.sender(ORDERS);
    await stage.transport.openReceiver(
      { topic: ORDERS, group: "billing", credit: 5, consumer: "c" },
      {
        deliver() {},
        lost() {},
        gap() {},
        revoked() {},
        unsettled() {},
        surfaced() {},
        revoking: () => Promise.resolve(),
      },
      signal(),
    );
    expect(
      stage.server.connections.map((c) => [c.heartbeat, c.frameMax, c.clientProperties["connection_name"]]),
    ).toEqual([
      [3, 16_384, "shop (publishing)"],
      [3, 16_384, "shop (consuming)"],
    ]);
  });
});
