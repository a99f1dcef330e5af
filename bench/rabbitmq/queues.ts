import { type ConfirmChannel, connect } from "amqplib";
import type { Measure, Task } from "../cases.ts";
import { measure } from "../rounds.ts";

/** Null: on an instant transport, without a broker. */
export type QueueTask = Omit<Task, "broker"> & { readonly queueType: "quorum" | "classic" | null };

/** Plays a task on a RabbitMQ, each time on a queue of its own. */
export function onQueue(url: string): (task: QueueTask, round: number) => Promise<Measure> {
  return async ({ queueType, ...task }, round) => {
    if (queueType === null) return await measure({ ...task, broker: null });
    const queue = `bench-${round}-${task.case}-${task.client}`;
    return await withQueue(url, { queue, type: queueType, task }, () =>
      measure({ ...task, broker: { url, queue, queueType } }),
    );
  };
}

/**
 * A fresh queue for each measurement: a long one is slower than a short one. For a consumer it is filled before, and Tally
 * must leave it empty: all was acked.
 */
async function withQueue<T>(
  url: string,
  { queue, type, task }: { readonly queue: string; readonly type: "quorum" | "classic"; readonly task: Filling },
  use: () => Promise<T>,
): Promise<T> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  try {
    await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": type } });
    if (task.verb === "consume") await fill(channel, queue, task);
    const used = await use();
    const { messageCount } = await channel.checkQueue(queue);
    // Single acks may go down with a channel that closes (RabbitMQ passes 32 on and keeps the rest back): amqplib's user has
    // some of those messages again.
    if (task.verb === "consume" && task.client === "tally" && messageCount > 0)
      throw new Error(`${queue}: ${messageCount} messages were not acked`);
    return used;
  } finally {
    await channel.deleteQueue(queue);
    await connection.close();
  }
}

type Filling = Pick<Task, "client" | "verb" | "warmup" | "messages" | "bytes">;
const AT_ONCE = 5_000;

async function fill(channel: ConfirmChannel, queue: string, { warmup, messages, bytes }: Filling): Promise<void> {
  const body = Buffer.alloc(bytes, "x");
  for (let n = 0; n < warmup + messages; n++) {
    channel.sendToQueue(queue, body, { persistent: true, messageId: `order-${n}` });
    if (n % AT_ONCE === 0) await channel.waitForConfirms();
  }
  await channel.waitForConfirms();
}
