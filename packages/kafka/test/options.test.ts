import { TallyError } from "@tallymq/core/spi";
import { kafka, type KafkaOptions } from "@tallymq/kafka";
import { describe, expect, it } from "vitest";
import { resolveKafka } from "../src/options.ts";
import { passwordOf } from "../src/sasl.ts";
import { FakeDriver, SIGNAL } from "./fake-driver.ts";

function refused(given: object): TallyError {
  try {
    kafka(given as KafkaOptions);
  } catch (thrown) {
    expect(TallyError.is(thrown)).toBe(true);
    expect((thrown as TallyError).code).toBe("bad-config");
    return thrown as TallyError;
  }
  throw new Error("nothing was thrown");
}

const OK = { brokers: ["localhost:9092"] };

describe("options", () => {
  it("have the defaults that the documentation names", () => {
    expect(resolveKafka(OK)).toMatchObject({
      name: "kafka",
      partitions: 6,
      replicationFactor: null,
      minInsyncReplicas: null,
      maxBytes: 1_048_576,
      batchBytes: 1_048_576,
      linger: 0,
      offsetReset: "fail",
      sessionTimeout: 10_000,
      heartbeat: 1_000,
      rebalanceTimeout: 30_000,
      connectTimeout: 3_000,
      requestTimeout: 10_000,
      fetchWait: 100,
      fetchBytes: 262_144,
      readAhead: 8_388_608,
    });
  });

  it.each([
    ["a broker without a port", { brokers: ["localhost"] }, /brokers\[0\] must be host:port/],
    ["a broker with port 65536", { brokers: ["localhost:65536"] }, /host:port/],
    ["a URL as a broker", { brokers: ["localhost:9092", "http://user:s3cret@h:1"] }, /brokers\[1\] must be host:port/],
    ["an unknown option of a topic", { ...OK, topics: { orders: { topik: "x" } } }, /did you mean "topic"/],
    ["a heartbeat that a session time-out could miss", { ...OK, sessionTimeout: "3s", heartbeat: "2s" }, /a third/],
    ["more replicas in sync than there are", { ...OK, replicationFactor: 2, minInsyncReplicas: 3 }, /at most/],
    ["an unknown offsetReset", { ...OK, offsetReset: "newest" }, /offsetReset/],
    ["a password in the clear", { ...OK, sasl: { mechanism: "plain", username: "u", password: "s3cret" } }, /give tls/],
    [
      "a password that is none",
      { ...OK, sasl: { mechanism: "plain", username: "u", password: ["s3cret"] } },
      /password/,
    ],
    ["a mechanism that is a password", { ...OK, sasl: { mechanism: "s3cret", username: "u" } }, /scram-sha-256/],
    [
      "sasl without a user",
      { ...OK, tls: {}, sasl: { mechanism: "plain", password: "s3cret" } },
      /username is missing/,
    ],
    ["a certificate check turned off", { ...OK, tls: { rejectUnauthorized: false } }, /always checked/],
    ["a certificate without its key", { ...OK, tls: { cert: "s3cret" } }, /cert and key/],
    ["configuration with __proto__", { ...OK, topics: JSON.parse('{"__proto__": {}}') as object }, /__proto__/],
  ] as const)("%s: refused at once, and nothing of a URL is quoted", (_, given, words) => {
    const error = refused(given);
    expect(error.message).toMatch(words);
    expect(error.message).not.toContain("s3cret");
  });
});

it("a password in the clear goes only where that is said", () => {
  const sasl = { mechanism: "plain", username: "u", password: "p", allowPlaintext: true } as const;
  expect(resolveKafka({ ...OK, sasl }).sasl).toMatchObject({ username: "u" });
  expect(resolveKafka({ ...OK, sasl: { ...sasl, allowPlaintext: false }, tls: {} }).tls).toEqual({
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
  });
});

describe("topics that are made", () => {
  const made = async (brokers: number, options: Partial<KafkaOptions> = {}, name = "orders") => {
    const driver = new FakeDriver();
    driver.brokers = brokers;
    await driver.transport(options).admin.declare([{ name, ordered: false, groups: ["billing"] }], SIGNAL);
    return driver.made;
  };

  it("have three replicas of which two must be in sync, or as many as there are brokers", async () => {
    const replicas = async (brokers: number): Promise<unknown> => {
      const [topic] = await made(brokers);
      return [topic!.replicationFactor, topic!.config["min.insync.replicas"]];
    };
    expect([await replicas(5), await replicas(2), await replicas(1)]).toEqual([
      [3, "2"],
      [2, "1"],
      [1, "1"],
    ]);
  });

  it("have as many of both as the options say", async () => {
    const [topic] = await made(5, { replicationFactor: 5, minInsyncReplicas: 3, partitions: 12 });
    expect([topic!.replicationFactor, topic!.config["min.insync.replicas"], topic!.partitions]).toEqual([5, "3", 12]);
  });

  it("take the largest body with its headers, and elect no leader that lacks messages", async () => {
    const [topic] = await made(3, { maxBytes: 5_000_000 });
    expect(Number(topic!.config["max.message.bytes"])).toBeGreaterThan(5_000_000 + 64 * 1024);
    expect(topic!.config["unclean.leader.election.enable"]).toBe("false");
    const [batches] = await made(3, { batchBytes: 9_000_000 });
    expect(Number(batches!.config["max.message.bytes"])).toBeGreaterThan(9_000_000);
  });

  it("are the topic and, for each group, one for copies that go to it alone", async () => {
    expect((await made(3)).map(({ name }) => name)).toEqual(["orders", "orders.billing.copies"]);
  });

  it("keep dead letters until a person has seen them", async () => {
    const [topic] = await made(3, {}, "orders.billing.dead-letters");
    expect(topic!.config["retention.ms"]).toBe("-1");
  });

  it("have a name that Kafka takes, or are refused by name", async () => {
    await expect(made(3, {}, "bestellungen für dich")).rejects.toMatchObject({
      code: "topology",
      message: expect.stringContaining("bestellungen für dich"),
    });
    expect(
      (await made(3, { topics: { "für dich": { topic: "fuer-dich", groups: { billing: "b" } } } }, "orders")).length,
    ).toBe(2);
  });

  it("are not made where they are somebody else's: looked for, and missing ones named", async () => {
    const driver = new FakeDriver();
    const transport = driver.transport({ topics: { orders: { declare: false } } });
    const plan = { name: "orders", ordered: false, groups: [] };
    await expect(transport.admin.declare([plan], SIGNAL)).rejects.toMatchObject({
      code: "topology",
      retryable: false,
      message: expect.stringContaining("declare: false"),
    });
    driver.partitions.set("orders", 4);
    await transport.admin.declare([plan], SIGNAL);
    expect(driver.made).toEqual([]);
  });
});

describe("declare: passive", () => {
  const plan = { name: "orders", ordered: false, groups: ["billing"] };

  it("makes nothing, and names what is missing: the topic, a group's copies", async () => {
    const driver = new FakeDriver();
    const { admin } = driver.transport({ declare: "passive" });
    await expect(admin.declare([plan], SIGNAL)).rejects.toMatchObject({
      code: "topology",
      retryable: false,
      message: expect.stringContaining('"orders" is not there, and declare: passive'),
    });
    driver.partitions.set("orders", 2);
    await expect(admin.declare([plan], SIGNAL)).rejects.toThrow('"orders.billing.copies" is not there');
    driver.partitions.set("orders.billing.copies", 2);
    await admin.declare([plan], SIGNAL);
    expect(driver.made).toEqual([]);
  });

  it("of one topic leaves the others to be made", async () => {
    const driver = new FakeDriver();
    const { admin } = driver.transport({ topics: { orders: { declare: "passive" } } });
    await expect(admin.declare([plan], SIGNAL)).rejects.toMatchObject({ code: "topology" });
    await admin.declare([{ ...plan, name: "others" }], SIGNAL);
    expect(driver.made.map(({ name }) => name)).toEqual(["others", "others.billing.copies"]);
  });

  it("delays where the topic for delays is there, and says by name where it is not", async () => {
    const driver = new FakeDriver();
    await using transport = driver.transport({ declare: "passive" });
    await expect(transport.admin.declareDelays(plan, 1, SIGNAL)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("orders.delays"),
    });
    driver.partitions.set("orders.delays", 25);
    await transport.admin.declareDelays(plan, 1, SIGNAL);
    expect(driver.made).toEqual([]);
  });

  it("nothing else is taken for it", () => {
    const declare = "never" as "passive";
    expect(() => resolveKafka({ brokers: ["localhost:9092"], declare })).toThrow(
      /declare must be true, false or "pass/,
    );
    expect(() => resolveKafka({ brokers: ["localhost:9092"], topics: { orders: { declare } } })).toThrow(
      /topics\.orders: declare must be/,
    );
  });
});

describe("a password that rotates", () => {
  const OF = { mechanism: "plain", username: "u", allowPlaintext: true } as const;
  const ask = (password: () => unknown) =>
    passwordOf(resolveKafka({ ...OK, sasl: { ...OF, password: password as never } }).sasl!);

  it("is asked for each time", async () => {
    let n = 0;
    const sasl = resolveKafka({ ...OK, sasl: { ...OF, password: () => Promise.resolve(`p${++n}`) } }).sasl!;
    expect([await passwordOf(sasl), await passwordOf(sasl)]).toEqual(["p1", "p2"]);
  });

  it("that cannot be had now is asked for again, and what is none is refused; neither is shown", async () => {
    const failing = ask(() => Promise.reject(new Error("the vault is sealed", { cause: "s3cret" })));
    const failed: unknown = await failing.catch((thrown: unknown) => thrown);
    expect(failed).toMatchObject({ code: "unreachable", retryable: true });
    expect((failed as Error).cause ?? null).toBe(null);
    for (const given of ["", "s3cret\0", { password: "s3cret" }, undefined]) {
      const error: unknown = await ask(() => given).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: "bad-config" });
      expect(String((error as Error).message)).not.toContain("s3cret");
    }
  });
});

it("linger is the trait that core goes by", () => {
  expect(new FakeDriver().transport().traits.lingerMs).toBe(0);
  expect(new FakeDriver().transport({ linger: "20ms" }).traits.lingerMs).toBe(20);
});

it("what Kafka can do, and what it cannot, is said by name", () => {
  const transport = new FakeDriver().transport({ maxBytes: 5_000, readAhead: 100_000 });
  expect(transport.traits).toEqual({
    maxBytes: 5_000,
    // One request a partition at a time: a repeat is of the batch that has the next sequence number.
    inFlightPerLane: 1,
    lingerMs: 0,
    // By a new producer.
    resendsInSession: false,
    unroutable: "hidden",
    order: "partition",
    release: "none",
    deliveryLease: "none",
    position: true,
    countsDeliveries: false,
    longestDelay: 24 * 24 * 3_600_000,
    aheadBytes: 200_000,
  });
  expect(transport.halfMessages).toBe(null);
});
