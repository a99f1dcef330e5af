import { type AddressInfo, createServer } from "node:net";
import { DEAD_LETTERS, readHostPort, TallyError } from "@tallymq/core/spi";
import { turns, virtualClock } from "@tallymq/testkit";
import { ORDERS, outgoing, SenderJournal } from "@tallymq/testkit/port";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Cluster } from "../src/remoting/cluster.ts";
import { RemotingClient, RemotingError } from "../src/remoting/client.ts";
import { AnswerReader, MOST_FRAME, readJson, request } from "../src/remoting/frames.ts";
import { signed } from "../src/remoting/signature.ts";
import { type Dial, dialTcp } from "../src/remoting/socket.ts";
import { FakeCluster, frame } from "./fake-cluster.ts";
import { FakeDriver, ORDERED, SIGNAL, stored } from "./fake-driver.ts";
import { Stage } from "./receiving.ts";

const AT = readHostPort("names", "localhost:9876", "localhost:9876");

describe("frames", () => {
  it("are read in whatever pieces they come", () => {
    const bytes = Buffer.concat([frame(1, 0, {}, "one"), frame(2, 17, { a: "b" }, "")]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 })), (sizes) => {
        const reader = new AnswerReader();
        const answers = [];
        let at = 0;
        for (const size of [...sizes, bytes.length]) {
          answers.push(...reader.take(bytes.subarray(at, at + size)));
          at += size;
          if (at >= bytes.length) break;
        }
        expect(answers.map(({ opaque, code, fields }) => ({ opaque, code, fields: { ...fields } }))).toEqual([
          { opaque: 1, code: 0, fields: {} },
          { opaque: 2, code: 17, fields: { a: "b" } },
        ]);
        expect(new TextDecoder().decode(answers[0]!.body)).toBe("one");
      }),
    );
  });

  it.each([
    ["of 4 GiB", [0xff, 0xff, 0xff, 0xff]],
    ["over the bound", [...new Uint8Array(new Uint32Array([MOST_FRAME + 1]).buffer)].toReversed()],
    ["too short for a header", [0, 0, 0, 3]],
    ["with a header of another kind", [0, 0, 0, 4, 1, 0, 0, 0]],
    ["with a header longer than itself", [0, 0, 0, 4, 0, 0, 0, 9]],
    ["with a header that is no JSON", [0, 0, 0, 5, 0, 0, 0, 1, 0x7b]],
    ["with null for a header", [0, 0, 0, 8, 0, 0, 0, 4, 0x6e, 0x75, 0x6c, 0x6c]],
  ])("%s are refused", (_, bytes) => {
    expect(() => new AnswerReader().take(Uint8Array.from(bytes))).toThrow();
  });

  it("have a header that says what is asked", () => {
    const bytes = Buffer.from(request(105, 7, { topic: "t" }, new Uint8Array([9])));
    expect(bytes.readUInt32BE(0)).toBe(bytes.length - 4);
    const length = bytes.readUInt32BE(4);
    expect(JSON.parse(bytes.subarray(8, 8 + length).toString())).toMatchObject({
      code: 105,
      opaque: 7,
      extFields: { topic: "t" },
    });
    expect(bytes.at(-1)).toBe(9);
  });

  it("hold JSON whose keys may be numbers", () => {
    expect(readJson(Buffer.from('{"a":{0:"x", 12 : "y"},"b":[1]}'))).toEqual({ a: { 0: "x", 12: "y" }, b: [1] });
  });
});

describe("a signature", () => {
  it("is HMAC-SHA1 over the values in the order of their names, and the body", async () => {
    const { createHmac } = await import("node:crypto");
    const all = await signed({ topic: "t", b: "2" }, new Uint8Array([65]), {
      accessKey: "user",
      secretKey: "s3cret",
      securityToken: null,
    });
    expect(all["Signature"]).toBe(createHmac("sha1", "s3cret").update("user2tA").digest("base64"));
    expect(all["AccessKey"]).toBe("user");
    expect(JSON.stringify(all)).not.toContain("s3cret");
  });
});

describe("a connection", () => {
  const client = (cluster: FakeCluster, clock = virtualClock()) =>
    new RemotingClient(AT, { dial: cluster.dial, clock, credentials: null, within: 3_000 });

  it("that does not answer ends in time, and with it all that waits", async () => {
    const clock = virtualClock();
    const cluster = new FakeCluster();
    cluster.silent = true;
    const asking = [1, 2].map((code) => client(cluster, clock).ask(code, {}));
    const all = Promise.allSettled(asking);
    await clock.advance(3_000);
    expect((await all).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(clock.pending()).toBe(0);
  });

  it("that does not come about is not waited for any longer: whoever dials is told", async () => {
    const clock = virtualClock();
    const told: string[] = [];
    const dial: Dial = (_host, _port, _events, signal) => {
      signal.addEventListener("abort", () => told.push("enough"));
      return new Promise(() => {});
    };
    const asking = new RemotingClient(AT, { dial, clock, credentials: null, within: 3_000 }).ask(1, {});
    asking.catch(() => {});
    await turns();
    expect(told).toEqual([]);
    await clock.advance(3_000);
    await expect(asking).rejects.toThrow(/no answer/);
    expect(told).toEqual(["enough"]);
  });

  it("over TCP that is given up leaves no socket that goes on connecting", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const ended: Error[] = [];
    const gone = new AbortController();
    const dialling = dialTcp("127.0.0.1", port, { bytes: () => {}, ended: (error) => ended.push(error) }, gone.signal);
    gone.abort(new Error("enough"));
    await expect(dialling).rejects.toThrow("enough");
    // Which waits for all connections to end.
    await new Promise((resolve) => server.close(resolve));
    expect(ended).toEqual([]);
  });

  it("that says what is no frame is closed", async () => {
    const cluster = new FakeCluster();
    cluster.garbage = true;
    await expect(client(cluster).ask(1, {})).rejects.toThrow(/no RocketMQ/);
    expect(cluster.closed).toBe(1);
  });

  it("gives an answer that is no success as an error with its code, and without the stack trace", async () => {
    const one = client(new FakeCluster());
    const error = await one.must("x", 999, {}).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RemotingError);
    expect((error as RemotingError).remoting).toBe(3);
    expect((error as Error).message).not.toContain("at org.apache");
  });
});

it("a cluster that is closed connects to nobody any more, whoever is in the middle of asking", async () => {
  const fake = new FakeCluster();
  fake.silent = true;
  const dialled: number[] = [];
  const closed: number[] = [];
  const { dial } = fake;
  const cluster = new Cluster({
    names: [1, 2].map((n) => readHostPort("names", `localhost:${n}`, "localhost:9876")),
    dial: async (host, port, events, signal) => {
      dialled.push(port);
      const wire = await dial(host, port, events, signal);
      return { write: (bytes) => wire.write(bytes), close: () => void closed.push(port) };
    },
    clock: virtualClock(),
    credentials: null,
    within: 1_000,
  });
  const asking = cluster.masters().catch((thrown: unknown) => thrown);
  await turns();
  cluster.close();
  await turns();
  expect([dialled, closed]).toEqual([[1], [1]]);
  expect(await asking).toBeInstanceOf(Error);
});

describe("declaring", () => {
  it("makes topics by their kind, groups by whether they are ordered, and writes where they begin", async () => {
    const cluster = new FakeCluster();
    const transport = new FakeDriver().transport({}, cluster.cluster());
    await transport.admin.declare([ORDERS, { ...ORDERED, groups: ["a"] }], SIGNAL);
    await transport.admin.declareDelays(ORDERS, 1_000, SIGNAL);
    expect(cluster.kinds).toEqual({
      orders: "NORMAL",
      orders_billing_copies: "DELAY",
      orders_later: "DELAY",
      steps: "FIFO",
      steps_a_copies: "DELAY",
    });
    expect(cluster.groups).toEqual({ orders_billing: false, steps_a: true });
    // Giving up is Tally's, after 16: the broker must not be the first.
    expect(cluster.retries).toEqual([1_000, 1_000]);
    // Queues are at 3 to 8: a group that was never there begins at the oldest.
    expect(cluster.offsets.get("orders_billing orders 0")).toBe(3);
  });

  it('begins at the end with from: "latest", and never moves a group that has been there', async () => {
    const cluster = new FakeCluster();
    cluster.offsets.set("orders_billing orders 0", 5);
    const transport = new FakeDriver().transport({ from: "latest" }, cluster.cluster());
    await transport.admin.declare([ORDERS], SIGNAL);
    expect(cluster.offsets.get("orders_billing orders 0")).toBe(5);
    expect(cluster.offsets.get("orders_billing orders 1")).toBe(8);
  });

  it("is over when the name servers know of the topic: a proxy that asked before would believe that it is not there", async () => {
    const cluster = new FakeCluster();
    cluster.late = 3;
    const transport = new FakeDriver().transport({}, cluster.cluster());
    await transport.admin.declare([{ ...ORDERS, groups: [] }], SIGNAL);
    expect(cluster.late).toBe(-1);
  });

  it("may be repeated, and makes nothing twice", async () => {
    const cluster = new FakeCluster();
    const transport = new FakeDriver().transport({}, cluster.cluster());
    await transport.admin.declare([ORDERS], SIGNAL);
    const made = cluster.made.length;
    await transport.admin.declare([ORDERS], SIGNAL);
    expect(cluster.made).toHaveLength(made);
  });

  it.each([
    ["a topic of another kind", (c: FakeCluster) => void (c.kinds["orders"] = "FIFO"), /kind FIFO/],
    ["a group that is ordered", (c: FakeCluster) => void (c.groups["orders_billing"] = true), /is ordered/],
  ])("refuses %s", async (_, given, words) => {
    const cluster = new FakeCluster();
    given(cluster);
    const transport = new FakeDriver().transport({}, cluster.cluster());
    await expect(transport.admin.declare([ORDERS], SIGNAL)).rejects.toThrow(words);
  });

  it.each(["a.._b", "a._b", "ü", "x".repeat(128)])("refuses a topic called %s by name", async (name) => {
    const transport = new FakeDriver().transport({}, new FakeCluster().cluster());
    const error = await transport.admin.declare([{ ...ORDERS, name }], SIGNAL).catch((thrown: unknown) => thrown);
    expect(TallyError.is(error) && error.code).toBe("topology");
  });

  it("delays nothing of an ordered topic", async () => {
    const transport = new FakeDriver().transport({}, new FakeCluster().cluster());
    await expect(transport.admin.declareDelays(ORDERED, 1, SIGNAL)).rejects.toThrow(/ordered/);
  });

  it("without name servers looks for the topics at a proxy, and says which is missing", async () => {
    const driver = new FakeDriver();
    driver.missing.add("orders_billing_copies");
    const error = await driver
      .transport()
      .admin.declare([ORDERS], SIGNAL)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "topology", retryable: true });
    expect(driver.link.closed).toBe(1);
  });

  it("what the broker itself has given up on is read with the dead letters, from its beginning, once it is there", async () => {
    const letters = { name: "orders.billing.dead-letters", ordered: false, groups: [DEAD_LETTERS] };
    const own = "orders_billing_dead-letters";
    const cluster = new FakeCluster();
    const driver = new FakeDriver();
    const transport = driver.transport({ from: "latest" }, cluster.cluster());
    const read = async (): Promise<readonly string[]> => {
      await new Stage(driver, transport).open(100, letters, DEAD_LETTERS);
      return driver.link.polls.map(({ topic }) => topic);
    };
    expect(await read()).toEqual([own]);
    cluster.kinds["%DLQ%orders_billing"] = "NORMAL";
    expect(await read()).toEqual([own, "%DLQ%orders_billing"]);
    expect(cluster.offsets.get(`${own}_dead-letters %DLQ%orders_billing 0`)).toBe(3);
    expect(cluster.made).not.toContain("%DLQ%orders_billing");
    // Two queues each, of which nothing has been taken.
    const topics = { orders: { groups: { billing: "finance" } } };
    expect(await transport.admin.backlog(letters.name, DEAD_LETTERS, SIGNAL)).toBe(2 * 5);
    cluster.kinds["%DLQ%finance"] = "NORMAL";
    const named = new FakeDriver();
    await new Stage(named, named.transport({ topics }, cluster.cluster())).open(100, letters, DEAD_LETTERS);
    expect(named.link.polls.map(({ topic }) => topic)).toEqual([own, "%DLQ%finance"]);
  });

  it("says that flushing to disk is vouched for where the broker says so", async () => {
    for (const [flush, persisted] of [
      ["SYNC_FLUSH", "yes"],
      ["ASYNC_FLUSH", "no"],
    ] as const) {
      const cluster = new FakeCluster();
      cluster.flush = flush;
      const driver = new FakeDriver();
      const transport = driver.transport({}, cluster.cluster());
      await transport.admin.declare([ORDERS], SIGNAL);
      expect(await proofOf(driver, transport)).toMatchObject({ persisted, replicated: "unverified" });
    }
  });
});

async function proofOf(driver: FakeDriver, transport: ReturnType<FakeDriver["transport"]>): Promise<unknown> {
  const journal = new SenderJournal();
  const sender = await transport.openSender(journal.events, SIGNAL);
  const batch = [outgoing("1")];
  sender.send(sender.lane(batch[0]!, null), batch, journal.of(batch));
  stored(driver.requests[0]!);
  await turns();
  return (journal.verdicts.get("1") as { proof?: unknown }).proof;
}
