// One broker for all of them: each trap of the driver and of RabbitMQ, produced for real.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openTally, topic } from "@tallymq/core";
import type { TopicPlan, Transport } from "@tallymq/core/spi";
import { rabbitmq } from "@tallymq/rabbitmq";
import { sharedRabbit, type SharedRabbit } from "../brokers/vitest/shared.ts";
import { message, messages, openTransport, outsider, plan, Receiving, Sending, signal } from "./stage.ts";

// Each trap that RabbitMQ or amqplib sets, on the real broker: what must come of it.
let rabbit: SharedRabbit;
let transport: Transport;
let names = 0;
const fresh = (given: Partial<TopicPlan> = {}): TopicPlan => plan(`topic-${++names}`, given);

beforeAll(async () => {
  rabbit = await sharedRabbit();
  transport = openTransport(rabbit.url);
});
afterAll(async () => {
  await transport[Symbol.asyncDispose]();
  await rabbit.stop();
});

describe("publishing", () => {
  it("a message that no queue takes is unroutable, though the broker confirms it", async () => {
    const topic = fresh({ groups: [] });
    await using sending = await Sending.open(transport, topic);
    expect(await sending.send(messages(topic, 3))).toEqual(["unroutable", "unroutable", "unroutable"]);
    expect(sending.error("m2")).toMatchObject({ code: "unroutable", id: "m2", mayArrive: false });
    expect(sending.losses).toEqual([]);
  });

  it("10,000 unroutable and routed ones, mixed, each get their own verdict", async () => {
    const [none, some] = [fresh({ groups: [] }), fresh()];
    await using sending = await Sending.open(transport, some);
    await transport.admin.declare([none], signal());
    const batch = Array.from({ length: 10_000 }, (_, i) => message((i * 7) % 3 === 0 ? none : some, i + 1));
    for (let i = 0; i < batch.length; i += 500) await sending.send(batch.slice(i, i + 500));
    const kinds = await sending.kinds(batch);
    expect(kinds.every((kind, i) => kind === (batch[i]!.topic === none.name ? "unroutable" : "accepted"))).toBe(true);
    expect(sending.journal).toEqual([]);
  });

  it("what the broker would end the channel for is refused alone; its siblings are accepted", async () => {
    const topic = fresh();
    await using sending = await Sending.open(transport, topic);
    const native = [
      { expiration: "soon" },
      { exchange: "nowhere" },
      { priority: 256 },
      { userId: "mallory" },
      { replyTo: "amq.rabbitmq.reply-to" },
    ];
    const batch = [
      message(topic, 1),
      ...native.map((n, i) => message(topic, i + 2, { native: n })),
      message(topic, 7, { headers: { CC: "x" } }),
      message(topic, 8),
    ];
    expect(await sending.send(batch)).toEqual([
      "accepted",
      "refused",
      "refused",
      "refused",
      "refused",
      "refused",
      "refused",
      "accepted",
    ]);
    expect(sending.losses).toEqual([]);
  });

  it("what is let through is taken: the largest body, key, header, priority and expiration", async () => {
    const topic = fresh();
    await using sending = await Sending.open(transport, topic);
    const text = "x".repeat(255);
    const batch = [
      message(topic, 1, { body: Buffer.alloc(16 * 1024 * 1024, 7), headers: { a: "b" } }),
      message(topic, 2, {
        id: text,
        key: text,
        correlationId: text,
        type: text,
        headers: { [text]: "x".repeat(100_000) },
      }),
      message(topic, 3, { native: { priority: 255, expiration: 4_294_967_295, replyTo: text, routingKey: text } }),
      message(topic, 4, { native: { priority: 0, expiration: "0000000001" } }),
      message(topic, 5, { body: new Uint8Array(0) }),
    ];
    expect(await sending.send(batch)).toEqual(["accepted", "accepted", "accepted", "accepted", "accepted"]);
    expect(sending.losses).toEqual([]);
  });

  it("an exchange deleted live: the session is lost, all open in doubt; the next session declares and goes on", async () => {
    const topic = fresh();
    await using sending = await Sending.open(transport, topic);
    await using other = await outsider(rabbit.url);
    await other.channel.deleteExchange(topic.name);
    const kinds = await sending.send(messages(topic, 20));
    expect(new Set(kinds)).toEqual(new Set(["doubt"]));
    expect(sending.losses.map((e) => [e.code, e.retryable])).toEqual([["session-lost", true]]);
    await using next = await Sending.open(transport, topic);
    expect(await next.send(messages(topic, 2, 21))).toEqual(["accepted", "accepted"]);
  });

  it("a full queue that rejects is 'later', and of a nacked message another queue of the exchange may have a copy", async () => {
    const topic = fresh();
    const two = fresh({ groups: ["full", "free"] });
    await using sending = await Sending.open(transport, topic);
    await transport.admin.declare([two], signal());
    const pattern = `^(${topic.name}[.]g|${two.name}[.]full)$`;
    await rabbit.admin.setPolicy({ name: "full", pattern, definition: { "max-length": 1 }, applyTo: "queues" });
    const post = async (t: TopicPlan, from: number): Promise<readonly string[]> => {
      const kinds: string[] = [];
      // It takes a few before it says no.
      for (let i = 0; i < 20; i++) kinds.push(...(await sending.send([message(t, from + i)])));
      return kinds;
    };
    const [single, both] = [await post(topic, 1), await post(two, 101)];
    await rabbit.admin.clearPolicy("full");
    expect(new Set(single)).toEqual(new Set(["accepted", "later"]));
    expect(await transport.admin.backlog(topic.name, "g", signal())).toBe(
      single.filter((kind) => kind === "accepted").length,
    );
    expect(new Set(both)).toEqual(new Set(["accepted", "later"]));
    expect(sending.error("m120").mayArrive).toBe(true);
    // The nacked ones are in the other queue, all of them.
    expect(await transport.admin.backlog(two.name, "free", signal())).toBe(20);
    expect(sending.losses).toEqual([]);
  });

  it("a user without the right to write is unauthorized; what may not be written is to wait", async () => {
    const topic = fresh();
    await transport.admin.declare([topic], signal());
    await rabbit.admin.ctl("add_user", "reader", "secret-of-reader").catch(() => {});
    await rabbit.admin.ctl("set_permissions", "--vhost", rabbit.vhost, "reader", ".*", "", ".*");
    const readonly = openTransport(rabbit.url.replace("guest:guest@", "reader:secret-of-reader@"));
    await using sending = await Sending.open(readonly, fresh({ groups: [] }));
    await using _ = readonly;
    expect(await sending.send(messages(plan(sending === null ? "" : `topic-${names}`, { groups: [] }), 2))).toEqual([
      "later",
      "later",
    ]);
    expect(sending.error("m1")).toMatchObject({ code: "unauthorized", mayArrive: true });
    expect(sending.losses[0]!.code).toBe("unauthorized");
    expect(String(sending.losses[0]!.stack)).not.toContain("secret-of-reader");
  });

  it("a topic that may not be written to starves no other: its breaker keeps it away until it may", async () => {
    const [audit, orders] = ["audit", "beside"].map((name) => topic<number>(`${name}-${++names}`, { groups: ["g"] }));
    const permit = (write: string): Promise<unknown> =>
      rabbit.admin.ctl("set_permissions", "--vhost", rabbit.vhost, "writer", ".*", write, ".*");
    await rabbit.admin.ctl("add_user", "writer", "secret-of-writer").catch(() => {});
    await permit(`^(?!${audit!.name}$).*`);
    const opened: string[] = [];
    await using tally = await openTally({
      service: "shop",
      broker: rabbitmq({ urls: [rabbit.url.replace("guest:guest@", "writer:secret-of-writer@")] }),
      publish: { breakerAfter: 2, breakerMin: "200ms", breakerMax: "1s" },
      reconnect: { max: "100ms" },
      onEvent: (event) => void (event.type === "breaker-open" && opened.push(event.topic)),
    });
    const forbidden = tally.publish(audit!, 0, { deadline: "60s" });
    forbidden.catch(() => {});
    await expect.poll(() => opened).toEqual([audit!.name]);
    for (let n = 1; n <= 50; n++) expect(await tally.publish(orders!, n)).toMatchObject({ state: "confirmed" });
    await permit(".*");
    expect(await forbidden).toMatchObject({ state: "confirmed" });
  });
});

describe("topology", () => {
  it("may be declared again and again, by two at once", async () => {
    const topic = fresh({ ordered: true, groups: ["a", "b"] });
    await using other = openTransport(rabbit.url);
    await Promise.all([transport.admin.declare([topic], signal()), other.admin.declare([topic], signal())]);
    await transport.admin.declare([topic], signal());
  });

  it("a queue of another kind under that name is topology, and says what to do", async () => {
    const topic = fresh();
    await using other = await outsider(rabbit.url);
    await other.channel.assertQueue(`${topic.name}.g`, { durable: true });
    await expect(transport.admin.declare([topic], signal())).rejects.toMatchObject({
      code: "topology",
      retryable: false,
      message: expect.stringMatching(
        /x-(queue-type|dead-letter|delivery|overflow|.*).*delete it, name another one/s,
      ) as string,
    });
    await using sending = await Sending.open(transport, fresh());
    expect(sending.losses).toEqual([]);
  });

  it("somebody else's queue is used as it is", async () => {
    await using other = await outsider(rabbit.url);
    await other.channel.assertQueue("their-queue", { durable: true, arguments: { "x-max-length": 1_000 } });
    await using mine = openTransport(rabbit.url, { topics: { legacy: { queue: "their-queue", declare: false } } });
    const topic = plan("legacy", { groups: [] });
    await using sending = await Sending.open(mine, topic);
    expect(await sending.send(messages(topic, 2))).toEqual(["accepted", "accepted"]);
    const receiving = await Receiving.open(mine, topic);
    receiving.ack(...(await receiving.first(2)));
    await receiving.port[Symbol.asyncDispose]();
    expect((await other.channel.checkQueue("their-queue")).messageCount).toBe(0);
  });

  it("somebody else's queue that is not there is topology", async () => {
    await using mine = openTransport(rabbit.url, { topics: { legacy: { queue: "no-such-queue", declare: false } } });
    await expect(mine.admin.declare([plan("legacy")], signal())).rejects.toMatchObject({
      code: "topology",
      retryable: false,
    });
  });

  it("wrong credentials are unauthorized, a virtual host that is not there too", async () => {
    await using wrong = openTransport(rabbit.url.replace("guest:guest@", "guest:wr0ng-secret@"));
    const error = await wrong.admin.declare([fresh()], signal()).then(
      () => null,
      (e: unknown) => e as Error,
    );
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
    expect(String(error!.stack)).not.toContain("wr0ng-secret");
    await using nowhere = openTransport(`${rabbit.url}-not-there`);
    await expect(nowhere.admin.declare([fresh()], signal())).rejects.toMatchObject({ code: "unauthorized" });
  });
});

describe("receiving", () => {
  it("a queue deleted live is a lost session; the next one has a new queue", async () => {
    const topic = fresh();
    const receiving = await Receiving.open(transport, topic);
    await using other = await outsider(rabbit.url);
    await other.channel.deleteQueue(`${topic.name}.g`);
    await receiving.until("the loss", () => receiving.losses.length > 0);
    expect(receiving.losses[0]).toMatchObject({ code: "session-lost", retryable: true });
    const next = await Receiving.open(transport, topic);
    await using sending = await Sending.open(transport, topic);
    await sending.send(messages(topic, 1));
    await next.first(1);
    await next.port[Symbol.asyncDispose]();
  });

  it("acks behind an unfinished one leave alone, and a later merged ack names none of them: the channel lives", async () => {
    const topic = fresh();
    await using sending = await Sending.open(transport, topic);
    await sending.send(messages(topic, 40));
    const receiving = await Receiving.open(transport, topic);
    const all = await receiving.first(40);
    // The head stays open until everything behind it was acked alone, the end of the prefix included.
    receiving.ack(...all.slice(1));
    await expect.poll(() => transport.admin.backlog(topic.name, "g", signal())).toBe(1);
    receiving.ack(all[0]!);
    await receiving.port[Symbol.asyncDispose]();
    expect(receiving.losses).toEqual([]);
    await expect.poll(() => rabbit.admin.ready(`${topic.name}.g`)).toBe(0);
  });

  it("what was released comes again before what came after it, and is counted", async () => {
    const topic = fresh();
    await using sending = await Sending.open(transport, topic);
    await sending.send(messages(topic, 4));
    const receiving = await Receiving.open(transport, topic, { credit: 2 });
    const [one, two] = await receiving.first(2);
    receiving.release(one!, two!);
    const four = await receiving.first(4);
    expect(four.map((d) => [d.message.id, d.count])).toEqual([
      ["m1", 1],
      ["m2", 1],
      ["m1", 2],
      ["m2", 2],
    ]);
    receiving.ack(...four.slice(2));
    const six = await receiving.first(6);
    expect(six.slice(4).map((d) => d.message.id)).toEqual(["m3", "m4"]);
    await receiving.port[Symbol.asyncDispose]();
  });

  it("rule 18: a consumer that dies 25 times with 500 prefetched loses nothing: the limit is far above", async () => {
    const topic = fresh();
    await using sending = await Sending.open(transport, topic);
    await sending.send(messages(topic, 500));
    const proxy = await rabbit.proxy();
    for (let i = 0; i < 25; i++) {
      const mortal = openTransport(rabbit.urlVia(proxy));
      const receiving = await Receiving.open(mortal, topic, { credit: 500 });
      await receiving.first(500);
      proxy.cut();
      await receiving.until("the loss", () => receiving.losses.length > 0);
      await mortal[Symbol.asyncDispose]();
    }
    const receiving = await Receiving.open(transport, topic, { credit: 500 });
    const all = await receiving.first(500);
    expect(new Set(all.map((d) => d.message.id)).size).toBe(500);
    expect(all[0]!.count).toBe(26);
    receiving.ack(...all);
    await receiving.port[Symbol.asyncDispose]();
  });

  it("rule 18: beyond the limit a message is dead-lettered at least once, not dropped", async () => {
    const topic = fresh();
    await using mine = openTransport(rabbit.url, { deliveryLimit: 10 });
    await using sending = await Sending.open(mine, topic);
    await sending.send(messages(topic, 1));
    const receiving = await Receiving.open(mine, topic);
    for (let i = 1; i <= 11; i++) receiving.release((await receiving.first(i))[i - 1]!);
    await expect
      .poll(() => rabbit.admin.ready(`${topic.name}.g.dead-letters.dead-letters`), { timeout: 10_000 })
      .toBe(1);
    expect(receiving.deliveries).toHaveLength(11);
    await receiving.port[Symbol.asyncDispose]();
  });

  it("stop ends deliveries and lets settling go on", async () => {
    const topic = fresh();
    await using sending = await Sending.open(transport, topic);
    await sending.send(messages(topic, 10));
    const receiving = await Receiving.open(transport, topic, { credit: 5 });
    const five = await receiving.first(5);
    await receiving.port.stop();
    receiving.ack(...five);
    await receiving.port[Symbol.asyncDispose]();
    expect(receiving.deliveries).toHaveLength(5);
    await expect.poll(() => rabbit.admin.ready(`${topic.name}.g`)).toBe(5);
  });

  it("on an ordered topic the next consumer starts only after the first has left, with what that one gave back first", async () => {
    const topic = fresh({ ordered: true });
    await using sending = await Sending.open(transport, topic);
    await sending.send(messages(topic, 6));
    const first = await Receiving.open(transport, topic, { credit: 3, consumer: "one" });
    await first.first(3);
    const second = await Receiving.open(transport, topic, { credit: 6, consumer: "two" });
    // A pause does not hand the queue over, as a cancel would (4 5 6 before 1 2 3).
    first.port.pause(0);
    first.ack(first.deliveries[0]!);
    await expect.poll(() => transport.admin.backlog(topic.name, "g", signal())).toBe(5);
    expect(second.deliveries).toEqual([]);
    await first.port[Symbol.asyncDispose]();
    expect((await second.first(5)).map((d) => d.message.id)).toEqual(["m2", "m3", "m4", "m5", "m6"]);
    second.ack(...second.deliveries);
    await second.port[Symbol.asyncDispose]();
  });

  it("a foreign __proto__ header changes no prototype", async () => {
    const topic = fresh();
    const receiving = await Receiving.open(transport, topic);
    await using other = await outsider(rabbit.url);
    const headers = Object.defineProperty({ a: 1 }, "__proto__", { value: { polluted: true }, enumerable: true });
    other.channel.sendToQueue(`${topic.name}.g`, Buffer.from("x"), { headers });
    const [got] = await receiving.first(1);
    expect(Object.getPrototypeOf(got!.message.headers)).toBeNull();
    expect("polluted" in (got!.message.native as { properties: { headers: object } }).properties.headers).toBe(false);
    receiving.ack(got!);
    await receiving.port[Symbol.asyncDispose]();
  });
});
