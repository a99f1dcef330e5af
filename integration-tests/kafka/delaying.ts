// A process of its own, which is killed: delays messages, and forwards what is delayed, until it is gone.
import { openTally, topic } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";

const [broker, name, count] = process.argv.slice(2) as [string, string, string];
const orders = topic<{ n: number }>(name, { groups: ["billing"] });
const tally = await openTally({
  service: "shop",
  broker: kafka({ brokers: [broker], partitions: 2, heartbeat: "200ms", sessionTimeout: "2s", fetchWait: "50ms" }),
  topics: [orders],
});
// Some with a hop to go, some with several.
await Promise.all(
  Array.from({ length: Number(count) }, (_, n) =>
    tally.publish(orders, { n }, { id: `m${n}`, delay: `${200 + 20 * n}ms` }),
  ),
);
process.send?.("accepted");
