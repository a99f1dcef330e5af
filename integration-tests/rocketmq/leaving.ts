/** A process that publishes and consumes, closes when it is told to, and has nothing that should keep it alive then. */
import { openTally, topic } from "@tallymq/core";
import { rocketmq } from "@tallymq/rocketmq";

const { ENDPOINT, NAMES, TOPIC, AWAY } = process.env as Record<string, string>;
const orders = topic<{ readonly n: number }>(TOPIC!, { groups: ["billing"] });
const tally = await openTally({
  service: "shop",
  broker: rocketmq({ endpoints: [ENDPOINT!], names: [NAMES!], heartbeat: "500ms", receiveWait: "1s" }),
  topics: [orders],
});
const got = Promise.withResolvers<void>();
const starting = tally
  .consumer("billing")
  .on(orders, async () => got.resolve())
  .start();
const publishing = tally.publish(orders, { n: 1 });
// With nobody there both end with the close.
for (const each of [starting, publishing]) each.catch(() => {});
if (AWAY === undefined) {
  await Promise.all([starting, publishing]);
  await got.promise;
}

const told = Promise.withResolvers<void>();
process.stdin.once("data", () => told.resolve());
console.log("ready");
await told.promise;
process.stdin.destroy();
await tally.close({ within: "2s" });
console.log("closed");
