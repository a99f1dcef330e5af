import { connect } from "amqplib";

/** Ids rise with time, as those that Tally makes do; every so many belong to one key. */
export const idOf = (n: number): string => String(n).padStart(12, "0");
export const KEYS = 5_000;
export const keyOf = (n: number): string => `k${n % KEYS}`;

/** What a queue holds at the end, against what was accepted. */
export interface Found {
  readonly ids: ReadonlySet<string>;
  readonly copies: number;
  /** Messages whose first copy came behind a later one of their key. */
  readonly outOfOrder: number;
}

export class Seen {
  readonly ids: Set<string> = new Set();
  copies = 0;
  outOfOrder = 0;
  readonly #newest: Map<string, number> = new Map();

  add(id: string): void {
    this.copies++;
    if (this.ids.has(id)) return;
    this.ids.add(id);
    const n = Number(id);
    const key = keyOf(n);
    if (n < (this.#newest.get(key) ?? -1)) this.outOfOrder++;
    else this.#newest.set(key, n);
  }
}

const IDLE_MS = 3_000;

/** Reads a queue to its end: until `expected` ids were seen, or nothing came for three seconds. */
export async function readQueue(url: string, queue: string, expected: number): Promise<Found> {
  const connection = await connect(url, { noDelay: true });
  const channel = await connection.createChannel();
  await channel.prefetch(2_000);
  const seen = new Seen();
  await new Promise<void>((resolve, reject) => {
    let last = performance.now();
    const idle = setInterval(() => {
      if (performance.now() - last > IDLE_MS) end();
    }, 100);
    const end = (): void => {
      clearInterval(idle);
      resolve();
    };
    channel
      .consume(queue, (message) => {
        if (message === null) return;
        last = performance.now();
        seen.add(String(message.properties.messageId));
        if (seen.copies % 500 === 0) channel.ack(message, true);
        if (seen.ids.size === expected) end();
      })
      .catch(reject);
  });
  await connection.close();
  return seen;
}

/** As `rabbitmq()` names it. */
export const queueOf = (topic: string, group: string): string => `${topic}.${group}`;

export function lost({ ids, outOfOrder }: Found, accepted: number): readonly string[] {
  return [
    ...(ids.size === accepted
      ? []
      : [`${accepted - ids.size} of ${accepted.toLocaleString("en")} accepted messages are not in the queue`]),
    ...(outOfOrder === 0 ? [] : [`${outOfOrder} messages came behind a later one of their key`]),
  ];
}

export async function remove(url: string, topic: string, queue: string): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  await channel.deleteQueue(queue);
  await channel.deleteExchange(topic);
  await connection.close();
}
