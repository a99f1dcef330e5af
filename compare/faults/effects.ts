import { setTimeout as sleep } from "node:timers/promises";
import { type Broker, bytes, openTally, topic } from "@tallymq/core";
import { sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import { bill, createEffects } from "../../integration-tests/workload/effects.ts";
import type { Order } from "../../integration-tests/workload/order.ts";

/** What is consumed, and by whom. */
export const TOPIC = "orders";
export const GROUP = "billing";

const LIMIT_MS = 120_000;
const LOOK_MS = 50;

/** What one client has published. */
export interface Source {
  /** On which it is the topic {@link TOPIC}, by connections of its own. */
  readonly broker: Broker;
  /** Breaks all connections to it at once, while the broker lives on. */
  cut(): void;
  /** Nothing is left that is not consumed. */
  empty(): Promise<boolean>;
}

/**
 * Consumes it as an application does whose handlers are to take effect once: Tally with an inbox, the effect a row in
 * the same transaction. Half-way its connections are broken, so that what was handled and not yet acked comes again, beside
 * what a publisher has sent twice. Ends when each id has an effect and nothing is left, or at its limit.
 *
 * @param ids how many there are
 * @param path of the database, which is made
 * @returns rows by id: nothing in that table keeps an id from being billed twice, the inbox alone does
 */
export async function effectsOf(
  { broker, cut, empty }: Source,
  ids: number,
  path: string,
): Promise<{ readonly made: ReadonlyMap<string, number>; readonly recognised: number }> {
  using effects = createEffects(path);
  let recognised = 0;
  const orders = topic<Uint8Array>(TOPIC, { codec: bytes });
  const shop = await openTally<SqliteTx>({
    service: "billing",
    broker,
    inbox: sqlite(path),
    onEvent: (event) => {
      if (event.type === "duplicate") recognised++;
    },
  });
  try {
    await shop
      .consumer(GROUP, { effect: "tx", lanes: 64 })
      .on(orders, async (body, { tx }) => {
        const order = JSON.parse(Buffer.from(body).toString()) as Order;
        await tx.run(...bill(order, "billing"));
      })
      .start();
    const end = performance.now() + LIMIT_MS;
    const consumed = async (enough: () => Promise<boolean> | boolean): Promise<void> => {
      while (!(await enough()) && performance.now() < end) await sleep(LOOK_MS);
    };
    await consumed(() => effects.billed() >= ids / 2);
    cut();
    await consumed(() => effects.billed() >= ids);
    await consumed(empty);
  } finally {
    // Handlers that are at work finish: theirs are effects too.
    await shop.close({ within: "20s" });
  }
  const made = new Map<string, number>();
  for (const { id } of effects.rows()) made.set(id, (made.get(id) ?? 0) + 1);
  return { made, recognised };
}
