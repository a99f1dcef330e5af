import { setTimeout as sleep } from "node:timers/promises";
import { bytes as raw, openTally, type Tally, topic } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { Arrivals } from "../../clients/arrivals.ts";
import { bodyOf, publishWindow } from "../../clients/publish-window.ts";
import type { Client } from "../../clients/task.ts";
import { keyOf, type KafkaTask } from "../task.ts";

const bench = topic<Uint8Array>("bench", { codec: raw });

/** Tally with all its promises on: one promise a message. */
export async function tally(task: KafkaTask): Promise<Client> {
  const opened = await open(task);
  const value = bodyOf(task.bytes);
  return {
    run: (from, messages, window) =>
      publishWindow((n) => opened.publish(bench, value, { id: `order-${n}`, key: keyOf(n) }), from, messages, window),
    close: () => opened.close(),
  };
}

/** As many lanes as the README's example has. */
export async function tallyConsumer(task: KafkaTask): Promise<Client> {
  const opened = await open(task);
  const arrivals = new Arrivals();
  const { handler, window } = task;
  return {
    async run(_from, messages) {
      if (arrivals.first) {
        await opened
          .consumer("bench", { effect: "none", lanes: 64, credit: window })
          .on(bench, async () => {
            if (handler > 0) await sleep(handler);
            arrivals.one();
          })
          .start();
      }
      return await arrivals.more(messages);
    },
    close: () => opened.close(),
  };
}

async function open({ brokers, topic: name, window }: KafkaTask): Promise<Tally> {
  return await openTally({
    service: "bench",
    broker: kafka({
      brokers,
      topics: { bench: { topic: name, groups: { bench: `${name}-group` }, declare: false } },
    }),
    publish: { window: Math.max(window, 1) },
  });
}
