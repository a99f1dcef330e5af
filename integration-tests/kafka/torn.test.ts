import { bytes, openTally, topic } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { expect, it } from "vitest";
import { until } from "../brokers/engine/wait.ts";
import { startKafka } from "../brokers/index.ts";

const BODY = Buffer.alloc(20_000, "x");

it("a connection that ends in the middle of an answer ends that answer, and consuming goes on", async () => {
  const node = await startKafka();
  try {
    const orders = topic("torn", { codec: bytes, groups: ["billing"] });
    const open = (brokers: string) =>
      openTally({
        service: "shop",
        broker: kafka({ brokers: [brokers], partitions: 1, heartbeat: "200ms", fetchWait: "50ms" }),
        topics: [orders],
      });
    // Straight to the node: the answers that are counted are the consumer's.
    await using publishing = await open(node.direct);
    await using consuming = await open(node.proxied);
    const seen = new Set<string | null>();
    await using _billing = await consuming
      .consumer("billing", { maxAttempts: 3 })
      .on(orders, (_body, { id }) => void seen.add(id))
      .start();
    const ids: string[] = [];
    for (let round = 1; round <= 5; round++) {
      // Small answers (heartbeats, empty fetches) are a few hundred bytes meanwhile: this ends in one full of messages.
      const torn = node.proxy.cutAfter({ bytes: 60_000 + 10_007 * round, from: "broker" });
      const batch = Array.from({ length: 20 }, (_, n) => `r${round}-${n}`);
      ids.push(...batch);
      await Promise.all(batch.map((id) => publishing.publish(orders, BODY, { id })));
      await until(`the messages of round ${round}`, 30_000, () => ids.every((id) => seen.has(id)));
      await torn;
    }
    expect(seen.size).toBe(100);
  } finally {
    await node.stop();
  }
});
