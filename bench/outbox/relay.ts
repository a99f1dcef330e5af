import { join } from "node:path";
import { connect } from "amqplib";
import { bytes as raw, openTally, type Topic, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { amqplib } from "../clients/amqplib.ts";
import { bodyOf, publishWindow } from "../clients/publish-window.ts";
import { Meter } from "./meter.ts";
import { idOf, keyOf, lost, queueOf, readQueue, remove } from "./queue.ts";
import { watchStalls } from "./stall.ts";
import { watchedOutbox } from "./stores.ts";
import type { OutboxMeasure, OutboxTask } from "./task.ts";

const GROUP = "bench";
const WITHIN_MS = 120_000;
/** The first sixth is not measured: the engine compiles first. */
const warmOf = (messages: number): number => Math.ceil(messages / 6);
/** Nobody listens there. */
const NOWHERE = "amqp://127.0.0.1:1";

/** Rows of 5,000 ordered keys, from a full outbox into a quorum queue; each is ended by its confirm. */
export async function relay(task: OutboxTask): Promise<OutboxMeasure> {
  return task.client === "amqplib" ? await byHand(task) : await byRelay(task);
}

async function byRelay({ broker, folder, bytes, callers, messages: measured }: OutboxTask): Promise<OutboxMeasure> {
  if (broker === null) throw new Error("the relay needs a broker");
  const messages = measured + warmOf(measured);
  const orders = ordered(broker.topic);
  const path = join(folder, "outbox.db");
  {
    await using tally = await openTally({
      service: "bench",
      broker: rabbitmq({ urls: [NOWHERE] }),
      outbox: watchedOutbox(path).spec,
    });
    const body = bodyOf(bytes);
    await publishWindow((n) => tally.publish(orders, body, { id: idOf(n), key: keyOf(n) }), 0, messages, callers);
  }
  const outbox = watchedOutbox(path);
  const tally = await openTally({
    service: "bench",
    broker: rabbitmq({ urls: [broker.url] }),
    outbox: outbox.spec,
    topics: [orders],
  });
  await outbox.atMost(measured, WITHIN_MS);
  const [meter, stalls] = [new Meter(), watchStalls()];
  const left = await outbox.rows();
  await outbox.atMost(0, WITHIN_MS);
  const figures = { ...meter.end(left), stall: stalls() };
  await tally.close();
  const queue = queueOf(broker.topic, GROUP);
  const found = await readQueue(broker.url, queue, messages);
  await remove(broker.url, broker.topic, queue);
  return { ...figures, said: { duplicates: found.copies - found.ids.size }, problems: lost(found, messages) };
}

/** The driver alone publishing as many messages, a callback a message, nothing stored anywhere. */
async function byHand({ broker, bytes, callers, messages }: OutboxTask): Promise<OutboxMeasure> {
  if (broker === null) throw new Error("amqplib needs a broker");
  const queue = `${broker.topic}.raw`;
  const connection = await connect(broker.url);
  const channel = await connection.createChannel();
  await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
  const client = await amqplib({ broker: { ...broker, queue }, bytes });
  await client.run(0, warmOf(messages), callers);
  const meter = new Meter();
  await client.run(warmOf(messages), messages, callers);
  const figures = { ...meter.end(messages), stall: null };
  await client.close();
  await channel.deleteQueue(queue);
  await connection.close();
  return { ...figures, said: {}, problems: [] };
}

/** Everything through the outbox, in the order of its key. */
function ordered(name: string): Topic<Uint8Array> {
  return topic<Uint8Array>(name, { codec: raw, key: () => "-", ordered: true, groups: [GROUP], outbox: "always" });
}
