import { inspect } from "node:util";
import { openTally, type TallyEvent, topic } from "@tallymq/core";
import { kafka, type KafkaOptions } from "@tallymq/kafka";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Kafka, logLevel } from "kafkajs";
import { until } from "../brokers/engine/wait.ts";
import { authority, type KafkaNode, startKafka } from "../brokers/index.ts";
import { passwordFor } from "../brokers/kafka/secure.ts";

// Made here, in memory, for some hours.
const ours = authority("ours");
const theirs = authority("theirs");
const PASSWORD = "canary-4711-s3cret";
const HOSTS = ["127.0.0.1", "localhost"];
const client = ours.issue({ name: "shop" });

let node: KafkaNode;
let names = 0;

beforeAll(async () => {
  const identity = ours.issue({ name: "broker", hosts: HOSTS });
  node = await startKafka({ secure: { identity, clientsOf: ours.cert, username: "shop", password: PASSWORD } });
});
afterAll(() => node.stop());

const sasl = (mechanism: "plain" | "scram-sha-256" | "scram-sha-512", password = PASSWORD) => ({
  mechanism,
  username: "shop",
  password: passwordFor(mechanism, password),
});

/** What opening says: null, the refusal, or the first failed try when waiting might mend it. */
async function opened(options: KafkaOptions): Promise<Error | null> {
  const failed: Error[] = [];
  const onEvent = (event: TallyEvent): void => void (event.type === "reconnect" && failed.push(event.error));
  try {
    await using tally = await openTally({ service: "shop", broker: kafka(options), onEvent });
    if (failed.length === 0 && (await tally.health()).status === "ok") return null;
    return failed[0] ?? null;
  } catch (thrown) {
    return thrown as Error;
  }
}

/** A message goes there and comes back. */
async function bothWays(options: KafkaOptions): Promise<void> {
  const orders = topic<{ n: number }>(`secure-${++names}`, { groups: ["billing"] });
  await using tally = await openTally({ service: "shop", broker: kafka(options), topics: [orders] });
  const got = Promise.withResolvers<{ n: number }>();
  await using _billing = await tally
    .consumer("billing")
    .on(orders, (order) => Promise.resolve(got.resolve(order)))
    .start();
  expect(await tally.publish(orders, { n: names })).toMatchObject({ state: "confirmed" });
  expect(await got.promise).toEqual({ n: names });
}

describe("user and password, over TLS", () => {
  it.each(["plain", "scram-sha-256", "scram-sha-512"] as const)("%s: messages go both ways", async (mechanism) => {
    await bothWays({ brokers: [node.login], tls: { ca: ours.cert }, sasl: sasl(mechanism) });
  });

  it.each(["plain", "scram-sha-256", "scram-sha-512"] as const)(
    "%s: a wrong password is refused for good, and is in no error",
    async (mechanism) => {
      const wrong = `${PASSWORD}-wrong`;
      const error = await opened({
        brokers: [node.login],
        tls: { ca: ours.cert },
        sasl: sasl(mechanism, wrong),
      });
      expect(error).toMatchObject({ code: "unauthorized", retryable: false });
      expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(PASSWORD);
    },
  );

  it("without them nobody is let in", async () => {
    expect(await opened({ brokers: [node.login], tls: { ca: ours.cert } })).toBeInstanceOf(Error);
  });
});

describe("what is secret", () => {
  it("is in no event, error, report and log line, whatever fails; a password that rotates is asked for with each session", async () => {
    const [HEADER, BODY] = ["canary-in-a-header", "canary-in-a-body"];
    const shown: unknown[] = [];
    const orders = topic<{ readonly text: string }>(`secure-${++names}`, { groups: ["billing"], maxBytes: 1_000 });
    let asked = 0;
    const password = (): string => {
      if (++asked === 1) throw new Error("the vault is sealed");
      return passwordFor("scram-sha-512", PASSWORD);
    };
    const tally = await openTally({
      service: "shop",
      broker: kafka({
        brokers: [node.login],
        tls: { ca: ours.cert, ...client },
        sasl: { mechanism: "scram-sha-512", username: "shop", password },
      }),
      topics: [orders],
      onEvent: (event) => void shown.push(event),
    });
    const note = (work: Promise<unknown>): Promise<unknown> =>
      work.then(
        (value) => shown.push(value),
        (thrown: unknown) => shown.push(thrown),
      );
    const billing = await tally
      .consumer("billing", { attempts: 1, maxAttempts: 1 })
      .on(orders, ({ text }) => {
        if (text === BODY) throw new Error("no");
      })
      .start();
    const headers = { secret: HEADER };
    await note(tally.publish(orders, { text: BODY }, { headers }));
    await note(tally.publish(orders, { text: BODY.repeat(100) }, { headers }));
    const stranger = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).producer();
    await stranger.connect();
    await stranger.send({ topic: orders.name, messages: [{ value: `{"text":"${BODY}`, headers }] });
    await stranger.disconnect();
    await until("a handler that failed, and a body that cannot be read", 30_000, () => {
      const failed = shown.filter((one) => (one as TallyEvent).type === "attempt-failed");
      return failed.length >= 2;
    });
    const before = asked;
    await node.kill();
    await note(tally.publish(orders, { text: BODY }, { headers, deadline: "1s" }));
    await note(tally.health());
    await note(tally.audit());
    await node.start();
    await until("a publish that gets through", 60_000, () =>
      tally.publish(orders, { text: "x" }, { deadline: "2s" }).then(
        () => true,
        () => false,
      ),
    );
    await note(tally.audit());
    await billing.close();
    await tally.close();
    expect(before).toBeGreaterThan(2);
    expect(asked).toBeGreaterThan(before);
    const text = inspect(shown, { depth: 20, showHidden: true, maxStringLength: null, maxArrayLength: null });
    expect(text).toContain("the vault is sealed");
    for (const canary of [PASSWORD, HEADER, BODY, "PRIVATE KEY"])
      for (const spelling of [
        canary,
        Buffer.from(canary).toString("base64").slice(2, 14),
        Buffer.from(canary).toString("hex"),
      ])
        expect(text).not.toContain(spelling);
  });
});

describe("certificates of both sides are checked", () => {
  it("a client certificate of the CA that the broker trusts: messages go both ways", async () => {
    await bothWays({ brokers: [node.mutual], tls: { ca: ours.cert, ...client } });
  });

  it.each([
    ["a broker that somebody else signed", { ca: theirs.cert, ...client }, /self.signed|unable to verify|certificate/i],
    [
      "a broker by another name than its certificate has",
      { ca: ours.cert, ...client, servername: "mq.example" },
      /mq\.example|altnames/i,
    ],
  ] as const)("%s is refused", async (_, tls, words) => {
    const error = await opened({ brokers: [node.mutual], tls });
    expect(error).toMatchObject({ code: "unauthorized", retryable: false, message: expect.stringMatching(words) });
  });

  it.each([
    ["no certificate", {}],
    ["a certificate that the broker does not trust", theirs.issue({ name: "shop" })],
  ])("a client with %s is not let in", async (_, own) => {
    expect(await opened({ brokers: [node.mutual], tls: { ca: ours.cert, ...own } })).toBeInstanceOf(Error);
  });

  it("a certificate and the key of another: fails at start, and no key is in the error", async () => {
    const other = ours.issue({ name: "other" });
    const error = await opened({ brokers: [node.mutual], tls: { ca: ours.cert, cert: client.cert, key: other.key } });
    expect(error).toMatchObject({ code: "bad-config" });
    expect(inspect(error, { depth: 20, showHidden: true })).not.toContain("PRIVATE KEY");
  });

  it("TLS spoken to a listener without, or nothing spoken to one with, opens no session", async () => {
    expect(await opened({ brokers: [node.direct], tls: { ca: ours.cert } })).toBeInstanceOf(Error);
    expect(await opened({ brokers: [node.mutual] })).toBeInstanceOf(Error);
  });
});
