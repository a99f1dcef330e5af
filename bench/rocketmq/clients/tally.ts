import { bytes as raw, openTally, topic } from "@tallymq/core";
import { rocketmq } from "@tallymq/rocketmq";
import { bodyOf, publishWindow } from "../../clients/publish-window.ts";
import type { Client } from "../../clients/task.ts";
import { REQUEST_MS, type RocketTask } from "../task.ts";

const bench = topic<Uint8Array>("bench", { codec: raw });

/** Tally with all its promises on: one promise a message. */
export async function tally({ endpoint, topic: name, bytes, window }: RocketTask): Promise<Client> {
  const opened = await openTally({
    service: "bench",
    broker: rocketmq({
      endpoints: [endpoint],
      topics: { bench: { topic: name, declare: false } },
      requestTimeout: REQUEST_MS,
    }),
    publish: { window: Math.max(window, 1) },
  });
  const value = bodyOf(bytes);
  return {
    run: (from, messages, most) =>
      publishWindow((n) => opened.publish(bench, value, { id: `order-${n}` }), from, messages, most),
    close: () => opened.close(),
  };
}
