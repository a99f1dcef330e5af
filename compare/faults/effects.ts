import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { bytes, openTally, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import { bill, createEffects } from "../../integration-tests/workload/effects.ts";
import type { Order } from "../../integration-tests/workload/order.ts";

const LIMIT_MS = 120_000;
const LOOK_MS = 50;

/**
 * Consumes a queue as an application does whose handlers are to take effect once: Tally with an inbox, the effect a row in
 * the same transaction. Ends when every copy was either an effect or recognised, or at its limit.
 *
 * @param copies what is in the queue, by id
 * @returns rows by id: nothing in that table keeps an id from being billed twice, the inbox alone does
 */
export async function effectsOf(
  place: { readonly url: string; readonly queue: string },
  copies: ReadonlyMap<string, number>,
  folder: string,
): Promise<ReadonlyMap<string, number>> {
  const path = join(folder, "effects.db");
  using effects = createEffects(path);
  let recognised = 0;
  let all = 0;
  for (const n of copies.values()) all += n;
  const orders = topic<Uint8Array>("orders", { codec: bytes });
  const shop = await openTally<SqliteTx>({
    service: "billing",
    broker: rabbitmq({ urls: [place.url], topics: { orders: { queue: place.queue, declare: false } } }),
    inbox: sqlite(path),
    onEvent: (event) => {
      if (event.type === "duplicate") recognised++;
    },
  });
  try {
    await shop
      .consumer("billing", { effect: "tx", lanes: 64 })
      .on(orders, async (body, { tx }) => {
        const order = JSON.parse(Buffer.from(body).toString()) as Order;
        await tx.run(...bill(order, "billing"));
      })
      .start();
    const end = performance.now() + LIMIT_MS;
    while (effects.made() + recognised < all && performance.now() < end) await sleep(LOOK_MS);
  } finally {
    await shop.close({ within: "20s" });
  }
  const made = new Map<string, number>();
  for (const { id } of effects.rows()) made.set(id, (made.get(id) ?? 0) + 1);
  return made;
}
