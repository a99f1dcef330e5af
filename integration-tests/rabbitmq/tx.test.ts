import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { openTally, topic } from "@tallymq/core";
import type { TopicPlan, Transport } from "@tallymq/core/spi";
import { rabbitmq } from "@tallymq/rabbitmq";
import { type RabbitNode, startRabbit } from "../brokers/index.ts";
import { message, messages, openTransport, outsider, plan, Sending, signal } from "./stage.ts";

// A node of its own: it is killed, and takes no message of more than 100,000 bytes.
const MOST = 100_000;
let node: RabbitNode;
let names = 0;
const open: Transport[] = [];

beforeAll(async () => {
  node = await startRabbit({ config: `max_message_size = ${MOST}\n` });
});
afterAll(() => node.stop());
afterEach(() => Promise.all(open.splice(0).map((transport) => transport[Symbol.asyncDispose]())));

function transport(options: Parameters<typeof openTransport>[1] = {}, url = node.url): Transport {
  const made = openTransport(url, { mode: "tx", ...options });
  open.push(made);
  return made;
}

function fresh(given: Partial<TopicPlan> = {}): TopicPlan {
  return plan(`tx-${++names}`, given);
}

const full = (name: string, queue: string): Promise<void> =>
  node.admin.setPolicy({
    name,
    pattern: `^${queue.replaceAll(".", "[.]")}$`,
    definition: { "max-length": 5, overflow: "reject-publish" },
    applyTo: "queues",
  });

describe("what the broker rolls back, in its own words", () => {
  it("an exchange that was deleted: all of the transaction is unsent, nothing of it is there", async () => {
    const topic = fresh();
    const gone = fresh();
    const mine = transport();
    const sending = await Sending.open(mine, topic);
    await mine.admin.declare([gone], signal());
    await using other = await outsider(node.url);
    await other.channel.deleteExchange(gone.name);
    const batch = [message(topic, 1), message(gone, 2), message(topic, 3)];
    expect(await sending.send(batch)).toEqual(["unsent", "unsent", "unsent"]);
    expect(sending.error("m1")).toMatchObject({ mayArrive: false, retryable: true });
    expect(await transport().admin.backlog(topic.name, "g", signal())).toBe(0);
  });

  it("an exchange that may not be written to: its message is refused, the siblings are sent again and stored", async () => {
    const [topic, forbidden] = [fresh(), plan("forbidden")];
    await transport().admin.declare([topic, forbidden], signal());
    await node.admin.ctl("add_user", "clerk", "secret");
    await node.admin.ctl("set_permissions", "-p", "/", "clerk", ".*", "^(?!forbidden$).*", ".*");
    const sending = await Sending.open(transport({}, node.url.replace("guest:guest", "clerk:secret")), topic);
    // Bound, as it was declared by somebody who may.
    await open
      .at(-1)!
      .admin.declare([forbidden], signal())
      .catch(() => {});
    const batch = [message(topic, 1), message(topic, 2, { native: { exchange: "", routingKey: `${topic.name}.g` } })];
    expect(await sending.send(batch)).toEqual(["accepted", "accepted"]);
    const mixed = [message(topic, 3), message(forbidden, 4), message(topic, 5)];
    expect(await sending.send(mixed)).toEqual(["unsent", "refused", "unsent"]);
    expect(sending.error("m4")).toMatchObject({ code: "unauthorized", mayArrive: false });
    expect(await sending.send(messages(topic, 2, 6))).toEqual(["accepted", "accepted"]);
    expect(sending.losses).toEqual([]);
  });

  it("a message that is larger than this broker takes: it is refused, its siblings are unsent, and the session lives", async () => {
    const topic = fresh();
    const sending = await Sending.open(transport(), topic);
    const batch = [message(topic, 1), message(topic, 2, { body: Buffer.alloc(MOST + 1) }), message(topic, 3)];
    expect(await sending.send(batch)).toEqual(["unsent", "refused", "unsent"]);
    expect(sending.error("m2").code).toBe("too-large");
    expect(await sending.send([message(topic, 4, { body: Buffer.alloc(MOST) })])).toEqual(["accepted"]);
    expect(sending.losses).toEqual([]);
  });
});

describe("a queue that is full", () => {
  it("classic: the transaction is not completed, and comes back as later; the session lives", async () => {
    const topic = fresh();
    const mine = transport({ queueType: "classic" });
    const sending = await Sending.open(mine, topic);
    expect(await sending.send(messages(topic, 5))).toEqual(Array(5).fill("accepted"));
    await full("classic", `${topic.name}.g`);
    expect(new Set(await sending.send(messages(topic, 5, 6)))).toEqual(new Set(["later"]));
    expect(await mine.admin.backlog(topic.name, "g", signal())).toBe(5);
    await node.admin.clearPolicy("classic");
    expect(await sending.send(messages(topic, 5, 11))).toEqual(Array(5).fill("accepted"));
    expect(sending.losses).toEqual([]);
  });

  // rabbitmq-server#8966, open. When this fails the broker tells it at last: then the gap can be closed.
  it("quorum: the broker answers ok to a commit of what the queue rejected, and the receipt does not say that it is kept", async () => {
    const topic = fresh();
    const mine = transport();
    const sending = await Sending.open(mine, topic);
    await sending.send(messages(topic, 5));
    await full("quorum", `${topic.name}.g`);
    // The queue tells its publishers a moment after it is full.
    let n = 6;
    const kinds = new Set<string>();
    await expect
      .poll(async () => {
        const before = await node.admin.ready(`${topic.name}.g`);
        for (const kind of await sending.send(messages(topic, 5, n))) kinds.add(kind);
        n += 5;
        return (await node.admin.ready(`${topic.name}.g`)) - before;
      })
      .toBe(0);
    expect([...kinds]).toEqual(["accepted"]);
    expect(sending.verdicts.get("m6")).toMatchObject({ proof: { persisted: "unverified" } });
    expect(sending.journal).toEqual([expect.stringContaining("rabbitmq-server#8966")]);
  });
});

describe("kill -9 around commits", () => {
  for (const queueType of ["quorum", "classic"] as const) {
    const kills = queueType === "quorum" ? 4 : 2;
    it(`${kills} times, ${queueType} queue: nothing that resolved is missing, and what is there twice has the same id`, async () => {
      const orders = topic<number>(`killed-${queueType}`, { groups: ["g"] });
      const resolved = new Set<string>();
      let resends = 0;
      let n = 0;
      {
        await using tally = await openTally({
          service: "shop",
          broker: rabbitmq({ urls: [node.url], mode: "tx", queueType, txMessages: 50 }),
          reconnect: { min: "50ms", max: "500ms" },
          publish: { deadline: "5m" },
          topics: [orders],
        });
        tally.on((event) => void (event.type === "resend" && resends++));
        let over = false;
        const lane = async (): Promise<void> => {
          while (!over) {
            const id = `o-${++n}`;
            await tally.publish(orders, n, { id });
            resolved.add(id);
          }
        };
        const lanes = Array.from({ length: 100 }, lane);
        await expect.poll(() => resolved.size).toBeGreaterThan(500);
        await node.admin.flushDeclares();
        for (let kill = 0; kill < kills; kill++) {
          // At any moment of a commit: one comes after the other, without a pause.
          const before = resolved.size;
          await expect.poll(() => resolved.size, { interval: 1 }).toBeGreaterThan(before + kill * 37);
          await node.kill();
          await node.start();
        }
        over = true;
        await Promise.all(lanes);
      }
      expect(resolved.size).toBe(n);
      await using other = await outsider(node.url);
      const { queue, messageCount } = await other.channel.checkQueue(`killed-${queueType}.g`);
      const seen: string[] = [];
      const all = Promise.withResolvers<void>();
      await other.channel.consume(
        queue,
        (got) => {
          seen.push(String(got!.properties.messageId));
          if (seen.length >= messageCount) all.resolve();
        },
        { noAck: true },
      );
      await all.promise;
      expect([...resolved].filter((id) => !new Set(seen).has(id))).toEqual([]);
      expect(new Set(seen).size).toBe(n);
      expect(resends).toBeGreaterThan(0);
      expect(seen.length - n).toBeLessThanOrEqual(resends);
    });
  }
});
