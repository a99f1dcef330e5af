import { openProducer } from "../../../compare/clients/rocketmq/rocketmq-client-nodejs.ts";
import { bodyOf, publishWindow } from "../../clients/publish-window.ts";
import type { Client } from "../../clients/task.ts";
import { REQUEST_MS, type RocketTask } from "../task.ts";

/** rocketmq-client-nodejs as its README says. */
export async function raw({ endpoint, topic, bytes }: RocketTask): Promise<Client> {
  const producer = await openProducer(endpoint, { requestTimeout: REQUEST_MS });
  const body = Buffer.from(bodyOf(bytes));
  return {
    run: (from, messages, window) => publishWindow(() => producer.send({ topic, body }), from, messages, window),
    close: () => producer.shutdown(),
  };
}
