import { bytes as raw, openTally, type Receipt, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import type { Task } from "../cases.ts";
import { Arrivals } from "./arrivals.ts";
import type { Client } from "./task.ts";
import { instant } from "./instant.ts";
import { bodyOf, jsonOf, publishWindow } from "./publish-window.ts";

/** Tally with all its promises on: mandatory, persistent, confirmed, tracked, awaited one promise a message. */
export async function tally(task: Task): Promise<Client> {
  const { broker, window, tx } = task;
  const opened = await openTally({
    service: "bench",
    broker:
      broker === null
        ? instant()
        : rabbitmq({
            urls: [broker.url],
            topics: { bench: { queue: broker.queue, declare: false } },
            ...(tx === undefined ? {} : { mode: "tx", txMessages: tx }),
          }),
    publish: { window: Math.max(window, 1) },
  });
  const publish = publisher(task, opened.publish.bind(opened));
  return {
    run: (from, messages, most) => publishWindow(publish, from, messages, most),
    close: () => opened.close(),
  };
}

/** As many lanes as the README's example has; the credit is what amqplib gets as prefetch. Acks are merged. */
export async function tallyConsumer({ broker, window, bytes }: Task): Promise<Client> {
  if (broker === null) throw new Error("a consumer needs a broker");
  const opened = await openTally({
    service: "bench",
    broker: rabbitmq({ urls: [broker.url], topics: { bench: { queue: broker.queue, declare: false } } }),
  });
  const bench = topic<Uint8Array>("bench", { codec: raw, maxBytes: Math.max(bytes, 1_024) });
  const arrivals = new Arrivals();
  return {
    async run(_from, messages) {
      if (arrivals.first) {
        await opened
          .consumer("bench", { effect: "none", lanes: 64, credit: window })
          .on(bench, () => arrivals.one())
          .start();
      }
      return await arrivals.more(messages);
    },
    close: () => opened.close(),
  };
}

function publisher(
  { bytes, body, id }: Task,
  publish: Awaited<ReturnType<typeof openTally>>["publish"],
): (n: number) => Promise<Receipt> {
  if (body === "json") {
    const bench = topic("bench");
    const value = jsonOf(bytes);
    return (n) => publish(bench, value, { id: `order-${n}` });
  }
  const bench = topic<Uint8Array>("bench", { codec: raw });
  const value = bodyOf(bytes);
  return id === "given" ? (n) => publish(bench, value, { id: `order-${n}` }) : () => publish(bench, value);
}
