import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { connect } from "amqplib";
import { describe, expect, it } from "vitest";
import { sharedRabbit } from "../integration-tests/brokers/vitest/shared.ts";

const run = promisify(execFile);

/** Runs an example as its first lines say; gives the lines that it printed. */
async function example(file: string, env: Readonly<Record<string, string>> = {}): Promise<readonly string[]> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const { stdout } = await run(process.execPath, [path], { env: { ...process.env, ...env }, timeout: 60_000 });
  return stdout.trim().split("\n");
}

/** The broker of a test: nobody else's messages in it. */
interface Place extends AsyncDisposable {
  readonly env: Readonly<Record<string, string>>;
}
const PLACES: readonly (readonly [string, () => Promise<Place>])[] = [
  ["the embedded broker", async () => ({ env: {}, async [Symbol.asyncDispose]() {} })],
  [
    "RabbitMQ",
    async () => {
      const rabbit = await sharedRabbit();
      return { env: { AMQP_URL: rabbit.url }, [Symbol.asyncDispose]: () => rabbit.stop() };
    },
  ],
];

describe.each(PLACES)("on %s", (_name, open) => {
  it("first publish: a receipt, and a typed rejection", async () => {
    await using place = await open();
    expect(await example("first-publish.ts", place.env)).toEqual([
      "order-1 is confirmed; routed: yes",
      "order-2 was rejected (schema); may it still arrive? false",
    ]);
  });

  it("first consumer: a key in order, a failed attempt repeated", async () => {
    await using place = await open();
    expect(await example("first-consumer.ts", place.env)).toEqual([
      "order-1 for ada at attempt 1",
      "order-2 for ada at attempt 2",
      "order-3 for ada at attempt 1",
    ]);
  });

  it("idempotent consumer: what comes twice has one effect, what is given up has none", async () => {
    await using place = await open();
    expect(await example("idempotent-consumer.ts", place.env)).toEqual([
      "acked without running: 2",
      "mailed: order-1, order-2",
      "order-1: 1 bill",
      "order-2: 1 bill",
    ]);
  });

  it("dead letters: looked at, replayed to their group by reason, the rest thrown away", async () => {
    await using place = await open();
    expect(await example("dead-letters.ts", place.env)).toEqual([
      "order-1: the card terminal does not answer (deliveries: 1)",
      "order-2: over the limit (deliveries: 1)",
      "order-3: the card terminal does not answer (deliveries: 1)",
      "would replay 2 of 3",
      "replayed 2, 1 left",
      "billed in order: order-1, order-3",
      "thrown away: 1",
    ]);
  });

  it("parked key: what follows a failed head waits, other keys go on, a replay runs them in order", async () => {
    await using place = await open();
    expect(await example("parked-key.ts", place.env)).toEqual([
      "billed order-3 to bob",
      "parked: ada, order-1 before order-2",
      "because: [handler] handler of billing for orders failed: the card of ada has expired",
      "billed order-1 to ada",
      "billed order-2 to ada",
      "replayed: 2",
    ]);
  });
});

describe.each(PLACES)("killed with -9, on %s", (_name, open) => {
  it("survive kill: each order has one bill", async () => {
    await using place = await open();
    expect(await example("survive-kill.ts", place.env)).toEqual([
      "killed 3 times; 200 bills for 200 orders; billed twice: 0",
    ]);
  });
});

describe("testing a handler", () => {
  it("works with node:test as with vitest", async () => {
    // The runner must not take itself for a child of this one.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const path = fileURLToPath(new URL("testing/billing.node-test.ts", import.meta.url));
    const { stdout } = await run(process.execPath, ["--test", "--test-reporter=tap", path], { env, timeout: 60_000 });
    expect(stdout).toContain("# pass 2\n# fail 0\n");
  });
});

describe.each(PLACES)("half message, on %s", (_name, open) => {
  it("is sent if its work was done, and not otherwise; who does not know is checked", async () => {
    await using place = await open();
    expect(await example("half-message.ts", place.env)).toEqual([
      "order-1: commit, stored",
      "order-2: declined, rolled back",
      "order-3: unknown",
      "billed: order-1, order-3",
      "checked: 1",
    ]);
  });
});

describe("outbox", () => {
  it("stores what is published while the broker is down, and sends it in order when it is back", async () => {
    expect(await example("outbox.ts")).toEqual([
      "order-1 is confirmed",
      "order-2 is stored",
      "order-3 is stored",
      "billed in order: order-1, order-2, order-3, order-4",
    ]);
  });
});

describe("existing queue of someone else", () => {
  it("is consumed and published to as it is, and a foreign client reads what Tally wrote", async () => {
    await using rabbit = await sharedRabbit();
    const connection = await connect(rabbit.url);
    try {
      const channel = await connection.createChannel();
      // Nothing that Tally would declare: classic, with a limit of its own.
      const theirs = { durable: true, arguments: { "x-queue-type": "classic", "x-max-length": 1000 } };
      await channel.assertQueue("invoices", theirs);
      channel.sendToQueue("invoices", Buffer.from('{"number":"I-1","cents":100}'), {
        headers: { "invoice-number": "I-1" },
      });
      const lines = await example("existing-queue.ts", { AMQP_URL: rabbit.url, QUEUE: "invoices" });
      expect(lines).toEqual(["archived I-1 (id I-1): 100 cents", "answered with I-2: confirmed"]);

      await channel.assertQueue("invoices", theirs);
      const answer = await channel.get("invoices", { noAck: true });
      if (answer === false) throw new Error("the answer is not in the queue");
      expect(JSON.parse(answer.content.toString())).toEqual({ number: "I-2", cents: 250 });
      expect(answer.properties).toMatchObject({
        messageId: "I-2",
        appId: "archive",
        contentType: "application/json",
        deliveryMode: 2,
      });
      expect(answer.properties.headers).toMatchObject({ "invoice-number": "I-2" });
      expect(await channel.get("invoices", { noAck: true })).toBe(false);
    } finally {
      await connection.close();
    }
  });
});
