import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type ConsumeMessage, connect } from "amqplib";
import { bytes as raw, openTally, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { sqlite } from "@tallymq/store-sqlite";
import { bodyOf, publishWindow } from "../clients/publish-window.ts";
import { Meter } from "./meter.ts";
import { openByHand } from "./puts.ts";
import { queueOf, remove } from "./queue.ts";
import { watchStalls } from "./stall.ts";
import type { OutboxMeasure, OutboxTask } from "./task.ts";

const GROUP = "billing";
const WINDOW = 1_000;
/** Of the user's file, as SQLite makes it: marks lie in it by hash, and each that is written writes its page. */
const PAGE = 4_096;
/** Messages that are handled but not measured: the engine compiles first. */
const WARM = 5_000;
const BILLS = "CREATE TABLE IF NOT EXISTS bills (id TEXT NOT NULL)";
const INSERT = "INSERT INTO bills VALUES (?)";

/** Handlers of one INSERT each on a quorum queue that is full; acked after the commit. */
export async function tx(task: OutboxTask): Promise<OutboxMeasure> {
  const { broker, messages, bytes, folder } = task;
  if (broker === null) throw new Error("a consumer needs a broker");
  const orders = topic<Uint8Array>(broker.topic, { codec: raw, groups: [GROUP] });
  const path = join(folder, "effects.db");
  const queue = queueOf(broker.topic, GROUP);
  {
    await using tally = await openTally({ service: "bench", broker: rabbitmq({ urls: [broker.url] }) });
    const body = bodyOf(bytes);
    await publishWindow((n) => tally.publish(orders, body, { id: `order-${n}` }), 0, WARM + messages, WINDOW);
  }
  const figures = task.client === "amqplib" ? await byHand(task, queue, path) : await byConsumer();
  const left = await messagesIn(broker.url, queue);
  await remove(broker.url, broker.topic, queue);
  return { ...figures, said: {}, problems: effectsOf(path, WARM + messages, left) };

  async function byConsumer(): Promise<Pick<OutboxMeasure, "rate" | "cpuMicros" | "stall">> {
    if (broker === null) throw new Error("a consumer needs a broker");
    openByHand(path, BILLS, PAGE).close();
    await using tally = await openTally({
      service: "bench",
      broker: rabbitmq({ urls: [broker.url] }),
      inbox: sqlite(path),
    });
    let [meter, stalls] = [new Meter(), watchStalls()];
    const all = Promise.withResolvers<void>();
    let handled = 0;
    const consumer = await tally
      .consumer(GROUP, { effect: "tx", lanes: task.callers })
      .on(orders, async (_body, { id, tx: sql }) => {
        await sql.run(INSERT, [id]);
        handled++;
        if (handled === WARM) {
          stalls();
          [meter, stalls] = [new Meter(), watchStalls()];
        } else if (handled === WARM + messages) all.resolve();
      })
      .start();
    await all.promise;
    await consumer.close();
    return { ...meter.end(messages), stall: stalls() };
  }
}

/** The driver and node:sqlite by hand: what came in one turn of the loop is a transaction of marks and effects, then one ack. */
async function byHand(
  { broker, messages, callers }: OutboxTask,
  queue: string,
  path: string,
): Promise<Pick<OutboxMeasure, "rate" | "cpuMicros" | "stall">> {
  if (broker === null) throw new Error("amqplib needs a broker");
  const sql = openByHand(path, `${BILLS}; CREATE TABLE marks (id TEXT PRIMARY KEY) WITHOUT ROWID`, PAGE);
  const [begin, mark, insert, commit] = [
    "BEGIN IMMEDIATE",
    "INSERT OR IGNORE INTO marks VALUES (?)",
    INSERT,
    "COMMIT",
  ].map((text) => sql.prepare(text));
  const connection = await connect(broker.url, { noDelay: true });
  const channel = await connection.createChannel();
  await channel.prefetch(4 * callers);
  const all = Promise.withResolvers<void>();
  let handled = 0;
  let batch: ConsumeMessage[] = [];
  const flush = (): void => {
    const taken = batch;
    batch = [];
    begin?.run();
    for (const { properties } of taken) {
      if (mark?.run(properties.messageId as string).changes === 1) insert?.run(properties.messageId as string);
    }
    commit?.run();
    const last = taken.at(-1);
    if (last !== undefined) channel.ack(last, true);
    handled += taken.length;
    if (counted === 0 && handled >= WARM) [meter, counted] = [new Meter(), handled];
    if (handled >= WARM + messages) all.resolve();
  };
  let [meter, counted] = [new Meter(), 0];
  await channel.consume(queue, (message) => {
    if (message === null) return;
    if (batch.push(message) === 1) setImmediate(flush);
  });
  await all.promise;
  const figures = { ...meter.end(handled - counted), stall: null };
  await channel.close();
  await connection.close();
  sql.close();
  return figures;
}

/** Effects are counted in the database, by somebody else than who wrote them. */
export function effectsOf(path: string, messages: number, left: number): readonly string[] {
  const sql = new DatabaseSync(path, { readOnly: true });
  const { n, ids } = sql.prepare("SELECT count(*) AS n, count(DISTINCT id) AS ids FROM bills").get() as {
    n: number;
    ids: number;
  };
  sql.close();
  return [
    ...(ids === messages ? [] : [`${messages - ids} of ${messages.toLocaleString("en")} messages had no effect`]),
    ...(n === ids ? [] : [`${n - ids} effects were made twice`]),
    ...(left === 0 ? [] : [`${left} messages are still in the queue`]),
  ];
}

async function messagesIn(url: string, queue: string): Promise<number> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  const { messageCount } = await channel.checkQueue(queue);
  await connection.close();
  return messageCount;
}
