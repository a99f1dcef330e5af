import { setTimeout as sleep } from "node:timers/promises";
import { type Channel, connect } from "amqplib";

/** Without a delivery for so long the queue is asked whether it has any left. */
const QUIET_MS = 200;
/** The most that AMQP can write. Without a prefetch a quorum queue of RabbitMQ 4 stops at 2,000 unacked. */
const PREFETCH = 65_535;

export async function declareAll(url: string, queues: readonly string[]): Promise<void> {
  await onChannel(url, async (channel) => {
    for (const queue of queues) {
      await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
    }
  });
}

/**
 * Takes everything out of the queue by amqplib and acks none, so that all is back when the connection ends. Over when the
 * queue says that it has nothing ready: its answer comes on the same channel behind the deliveries.
 */
export async function copiesIn(url: string, queue: string): Promise<ReadonlyMap<string, number>> {
  return await onChannel(url, async (channel) => {
    const copies = new Map<string, number>();
    let last = performance.now();
    const consume = (): Promise<unknown> =>
      channel.consume(queue, (message) => {
        if (message === null) return;
        const { id } = JSON.parse(message.content.toString()) as { readonly id: string };
        copies.set(id, (copies.get(id) ?? 0) + 1);
        last = performance.now();
      });
    await channel.prefetch(PREFETCH);
    await consume();
    for (;;) {
      await sleep(QUIET_MS);
      if (performance.now() - last < QUIET_MS) continue;
      const before = last;
      const { messageCount } = await channel.checkQueue(queue);
      if (messageCount === 0 && last === before) return copies;
      // More than one consumer may hold: the prefetch is each one's own.
      if (messageCount > 0 && last === before) await consume();
    }
  });
}

async function onChannel<T>(url: string, use: (channel: Channel) => Promise<T>): Promise<T> {
  const connection = await connect(url, { timeout: 10_000 });
  // An error without a listener would end the process; whoever waits for an answer is told by its rejection.
  connection.on("error", () => {});
  try {
    const channel = await connection.createChannel();
    channel.on("error", () => {});
    return await use(channel);
  } finally {
    await connection.close().catch(() => {});
  }
}
