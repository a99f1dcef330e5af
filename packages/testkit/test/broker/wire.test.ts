import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { memory, type MemoryBrokerProcess, seededRandom, startMemoryBroker } from "@tallymq/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  encodeFrame,
  FrameReader,
  MAX_FRAME,
  MAX_HEADER,
  metaOf,
  packFrames,
  readMessage,
  WireError,
} from "../../src/broker/wire.ts";
import { incoming } from "../../src/memory/traits.ts";
import { realClock } from "../../src/real.ts";
import { message, messages, NEVER, open, ORDERS, sender, until } from "../support/harness.ts";

describe("frames", () => {
  it("come out as they went in, however the stream is cut", () => {
    const part = fc.tuple(fc.dictionary(fc.string(), fc.string()), fc.uint8Array({ maxLength: 300 }));
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 8 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 97 })),
        (parts, cuts) => {
          const bytes = Buffer.concat(parts.map(([header, body]) => encodeFrame(JSON.stringify(header), [body])));
          const reader = new FrameReader();
          const got = [];
          for (let at = 0; at < bytes.length;) {
            const n = cuts.next().value as number;
            got.push(...reader.push(bytes.subarray(at, at + n)));
            at += n;
          }
          expect(got.map((f) => [JSON.stringify(f.header), [...f.body]])).toEqual(
            parts.map(([h, b]) => [JSON.stringify(JSON.parse(JSON.stringify(h))), [...b]]),
          );
        },
      ),
    );
  });

  it("of random bytes are refused or waited for, and nothing else", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), (chunks) => {
        const reader = new FrameReader();
        try {
          for (const chunk of chunks) reader.push(chunk);
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("larger than the largest are refused by their first four bytes", () => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(MAX_FRAME + 1);
    expect(() => new FrameReader().push(length)).toThrow(WireError);
    // Too short to hold the length of its header.
    for (let n = 0; n < 4; n++)
      expect(() => new FrameReader().push(Buffer.from([0, 0, 0, n, 0, 0, 0, 0]))).toThrow(WireError);
    const header = Buffer.alloc(9);
    header.writeUInt32BE(5, 0);
    header.writeUInt32BE(2, 4);
    expect(() => new FrameReader().push(header)).toThrow(WireError);
    const long = Buffer.alloc(8);
    long.writeUInt32BE(MAX_FRAME, 0);
    long.writeUInt32BE(MAX_HEADER + 1, 4);
    expect(new FrameReader().push(long)).toEqual([]);
  });

  it("hold many small messages, and one large one each", () => {
    const of = (n: number, size: number): number =>
      packFrames(
        "x",
        Array.from({ length: n }, () => ({ meta: "[]", body: new Uint8Array(size) })),
      ).length;
    expect([of(0, 0), of(100, 100), of(5, 1_000_000)]).toEqual([0, 1, 5]);
  });

  it("of a message are read back field by field, and no other number or type of fields is", () => {
    const m = incoming(message("a", { headers: { ["__proto__"]: "x" } }));
    const meta = JSON.parse(JSON.stringify(metaOf(m))) as unknown[];
    expect(readMessage(meta, m.body, 0)).toEqual(m);
    fc.assert(
      fc.property(fc.nat({ max: 14 }), fc.jsonValue(), (field, value) => {
        const broken = meta.with(field, value);
        try {
          readMessage(broken, m.body, 0);
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
    );
    for (const [field, value] of [
      [0, 7],
      [3, 0],
      [3, 1.5],
      [4, null],
      [9, "x"],
      [10, 0],
      [13, []],
      [13, { a: 1 }],
      [14, -1],
      [14, 99_999],
    ] as const) {
      expect(() => readMessage(meta.with(field, value), m.body, 0)).toThrow(WireError);
    }
    expect(() => readMessage(meta.slice(1), m.body, 0)).toThrow(WireError);
  });
});

describe("a broker process that is sent nonsense", () => {
  let dir: string;
  let broker: MemoryBrokerProcess;
  let at: string;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "tally-"));
    at = `unix:${join(dir, "s")}`;
    broker = await startMemoryBroker({ at, dataDir: join(dir, "data") });
    await open(memory({ at }), realClock).admin.declare([ORDERS], NEVER);
  });
  afterAll(async () => {
    await broker.kill();
    rmSync(dir, { recursive: true });
  });

  /** Resolves when the broker has hung up (`true`), or has not within this many milliseconds. */
  const poke = (bytes: Uint8Array, patience: number): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(join(dir, "s"));
      socket.on("error", () => {});
      socket.on("close", () => resolve(true));
      socket.on("data", () => {});
      socket.write(bytes, () =>
        setTimeout(() => {
          resolve(socket.destroyed);
          socket.destroy();
        }, patience),
      );
    });
  const hello = (role: string, more: object = {}): Buffer =>
    encodeFrame(JSON.stringify({ t: "hello", v: 1, role, ...more }));
  const then = (header: unknown, body = new Uint8Array(0)): Buffer => encodeFrame(JSON.stringify(header), [body]);
  const receives = hello("receiver", { topic: "orders", group: "billing", credit: 5 });

  it("hangs up on each violation, and serves the others on", async () => {
    const pid = broker.pid;
    const bad: [string, Uint8Array][] = [
      ["http", Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n")],
      ["no hello", then({ t: "publish", m: [] })],
      ["other version", then({ t: "hello", v: 2, role: "sender" })],
      ["unknown role", hello("king")],
      ["an array", then([])],
      ["null", then(null)],
      [
        "a short body",
        Buffer.concat([
          hello("sender"),
          then({ t: "publish", m: [metaOf(incoming(message("x")))] }, new Uint8Array(2)),
        ]),
      ],
      ["a long body", Buffer.concat([hello("sender"), then({ t: "publish", m: [] }, new Uint8Array(2))])],
      ["m is no list", Buffer.concat([hello("sender"), then({ t: "publish", m: { length: 3 } })])],
      ["settle from a sender", Buffer.concat([hello("sender"), then({ t: "settle", a: [1], r: [] })])],
      ["two hellos", Buffer.concat([hello("sender"), hello("sender")])],
      ["credit 0", hello("receiver", { topic: "orders", group: "billing", credit: 0 })],
      ["no such group", hello("receiver", { topic: "orders", group: "x", credit: 1 })],
      ["a tag that is no number", Buffer.concat([receives, then({ t: "settle", a: ["1"], r: [] })])],
      ["a release without a time", Buffer.concat([receives, then({ t: "settle", a: [], r: [[1]] })])],
      ["a release for ever", Buffer.concat([receives, then({ t: "settle", a: [], r: [[1, 2 ** 31]] })])],
      ["a request without a number", Buffer.concat([hello("admin"), then({ t: "idle" })])],
      ["an unknown request", Buffer.concat([hello("admin"), then({ t: "drop", n: 1 })])],
      ["a bad plan", Buffer.concat([hello("admin"), then({ t: "declare", n: 1, topics: [{ name: 1 }] })])],
    ];
    for (const [what, bytes] of bad) expect([what, await poke(bytes, 20_000)]).toEqual([what, true]);
    const s = await sender(open(memory({ at }), realClock));
    const two = messages(2);
    s.send(...two);
    await s.all(two);
    expect(s.seen).toEqual(["m1 accepted", "m2 accepted"]);
    expect(broker.pid).toBe(pid);
    expect(broker.stderr).toBe("");
  });

  it("tells a receiver that settles what it does not have, and stays", async () => {
    const socket = connect(join(dir, "s"));
    const reader = new FrameReader();
    const said: unknown[] = [];
    socket.on("data", (chunk: Buffer) =>
      said.push(...reader.push(chunk).map((f) => f.header["what"] ?? f.header["t"])),
    );
    socket.write(Buffer.concat([receives, then({ t: "settle", a: [999], r: [[998, 0]] }), then({ t: "stop" })]));
    await until(() => said.includes("stopped"));
    expect(said.filter((s) => String(s).includes("settled twice"))).toEqual([
      expect.stringContaining("delivery 999"),
      expect.stringContaining("delivery 998"),
    ]);
    socket.destroy();
  });

  it("outlives mutated streams of a good client", async () => {
    const random = seededRandom(5);
    const m = message("fuzz");
    const good = [
      Buffer.concat([
        hello("sender"),
        then({ t: "publish", m: [metaOf(incoming(m)), metaOf(incoming(m))] }, Buffer.concat([m.body, m.body])),
      ]),
      Buffer.concat([
        receives,
        then({ t: "settle", a: [1, 2], r: [[3, 5]] }),
        then({ t: "pause" }),
        then({ t: "stop" }),
        then({ t: "bye" }),
      ]),
      Buffer.concat([
        hello("admin"),
        then({ t: "backlog", n: 1, topic: "orders", group: "billing" }),
        then({ t: "messages", n: 2, topic: "orders", group: "billing" }),
      ]),
    ];
    for (let round = 0; round < 20; round++) {
      const pokes = Array.from({ length: 20 }, () => {
        const bytes = Buffer.from(good[Math.floor(random.unit() * good.length)]!);
        for (let i = 0; i < 1 + random.unit() * 4; i++)
          bytes[Math.floor(random.unit() * bytes.length)] = Math.floor(random.unit() * 256);
        return poke(bytes.subarray(0, Math.ceil(random.unit() * bytes.length)), 60);
      });
      await Promise.all(pokes);
    }
    const t = open(memory({ at }), realClock);
    expect(await t.admin.backlog("orders", "billing", NEVER)).toBeGreaterThanOrEqual(2);
    expect(broker.stderr).toBe("");
  });
});
