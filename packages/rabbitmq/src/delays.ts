import type { Channel } from "amqplib";

/**
 * Delays without a plugin: a ladder of queues that nobody consumes. Each has one fixed TTL, twice that of the one below it
 * (64 ms, 128 ms … 12 days), so that its head is always the next to expire, and any delay is a sum of some of them. What
 * expires is dead-lettered, at least once, to the next lower step of its sum, and from the last one to where it is due.
 *
 *     publish, 320 ms = 256 + 64                    routing key, lowest step first: 1.0.1
 *        │
 *        ▼                   1                        TTL over
 *     tally.delay.256 (exchange) ──▶ tally.delay.256 (queue) ──┐
 *        │ 0                                                   │
 *        ▼                   1                                 │
 *     tally.delay.128 ◀────────────────────────────────────────┘
 *        │ 0                                          TTL over
 *        ▼                   1
 *     tally.delay.64 ──────────────▶ tally.delay.64 (queue) ───┐
 *        │ 0                                                   │
 *        ▼                                                     ▼
 *     tally.delay.due ◀────────────────────────────────────────┘
 *        │ header tally-delay-to
 *        ▼
 *     the queue of a group, or the exchange of a topic
 *
 * Exchanges pass a message on within one step of the broker's routing; only queues take time. A message goes down only,
 * so it meets no queue twice: the broker drops, silently, what comes round in a circle of TTLs.
 *
 * The steps are shared by all topics and services of a virtual host.
 */

/** TTL of the lowest step, in milliseconds: the precision of delays. A hop alone takes longer than a finer one would. */
export const STEP_MS = 64;
/** The most that a broker's delay can be: the steps' sum stays below the longest timer of Node. */
export const LONGEST_DELAY: number = 24 * 24 * 3_600_000;

/** Where a message goes when its delay is over: an exchange of ours finds the queue or exchange by this header. */
export const DELAY_TO = "tally-delay-to";
/** Queues and exchanges of the ladder, and of nobody else: a message that a group's queue shared with it would come back. */
export const LADDER = "tally.delay.";
const DUE = `${LADDER}due`;
/** What nobody waits for any more (its queue was deleted): kept here, or it would hold up all that is behind it. */
const NOBODY = `${LADDER}nobody`;
// Someone who looks at what is delayed returns it again and again; the default limit would send it on early.
const DELIVERY_LIMIT = 1_000_000_000;

/** Where a delayed copy enters the ladder. */
export interface Entrance {
  readonly exchange: string;
  readonly routingKey: string;
}

/** Never early: rounded up to whole steps. */
export function entrance(delayMs: number): Entrance {
  const steps = Math.max(1, Math.ceil(delayMs / STEP_MS));
  return { exchange: nameOf(levels(delayMs) - 1), routingKey: steps.toString(2).split("").toReversed().join(".") };
}

/** How many steps of the ladder a delay needs. */
export function levels(delayMs: number): number {
  return Math.max(1, Math.ceil(delayMs / STEP_MS)).toString(2).length;
}

export function toQueue(queue: string): string {
  return `queue ${queue}`;
}

export function toExchange(exchange: string): string {
  return `exchange ${exchange}`;
}

/** Makes the lowest `count` steps; idempotent. An error ends the channel. */
export async function declareLadder(channel: Channel, count: number): Promise<void> {
  await channel.assertExchange(NOBODY, "fanout", { durable: true });
  await channel.assertQueue(NOBODY, {
    durable: true,
    arguments: { "x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT },
  });
  await channel.bindQueue(NOBODY, NOBODY, "");
  await channel.assertExchange(DUE, "headers", { durable: true, alternateExchange: NOBODY });
  for (let level = 0; level < count; level++) {
    const name = nameOf(level);
    const below = level === 0 ? DUE : nameOf(level - 1);
    await channel.assertExchange(name, "topic", { durable: true });
    // At least once needs quorum queues and `reject-publish`; without it the broker falls back to at most once, silently.
    await channel.assertQueue(name, {
      durable: true,
      arguments: {
        "x-queue-type": "quorum",
        "x-message-ttl": STEP_MS * 2 ** level,
        "x-dead-letter-exchange": below,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": DELIVERY_LIMIT,
      },
    });
    const skipped = "*.".repeat(level);
    await channel.bindQueue(name, name, `${skipped}1.#`);
    await channel.bindExchange(below, name, `${skipped}0.#`);
  }
}

/** Lets what is due reach a queue. */
export async function bindDueQueue(channel: Channel, queue: string): Promise<void> {
  await channel.bindQueue(queue, DUE, "", { "x-match": "all", [DELAY_TO]: toQueue(queue) });
}

/** Lets what is due reach all queues of an exchange. */
export async function bindDueExchange(channel: Channel, exchange: string): Promise<void> {
  await channel.bindExchange(exchange, DUE, "", { "x-match": "all", [DELAY_TO]: toExchange(exchange) });
}

function nameOf(level: number): string {
  return `${LADDER}${STEP_MS * 2 ** level}`;
}
