import { randomBytes } from "node:crypto";
import { until } from "../engine/wait.ts";
import { ever, makeGroup, take } from "./admin.ts";
import type { RocketNode } from "./node.ts";
import { sendRaw } from "./raw.ts";
import { makeTopic } from "./topics.ts";

/** The broker's queues of what is out (`reviveQueueNum`), each of which is gone through in the order of when it is due. */
const QUEUES = 8;
/** They count whole seconds. */
const BEHIND_MS = 2_000;
const WITHIN_MS = 90_000;

/**
 * Resolves when whatever was out when this began, for up to `outMs` from then, has been acked or is in its queue again: then
 * the broker's count is of all that nobody has acked. What is out is in no count of the broker's, and it tells of nobody how
 * much that is.
 *
 * So messages of our own are taken, and acked by nobody, until one is out in each of the broker's queues of such. They are
 * due after all others, and when they are back so are these, however late the broker is.
 */
export async function returned(node: RocketNode, outMs: number): Promise<void> {
  const broker = node.brokers.get("broker")!;
  const name = `returned-${randomBytes(4).toString("hex")}`;
  await makeTopic(node, name);
  await makeGroup(broker, name, QUEUES);
  const out = new Set<string>();
  let taken = 0;
  // Others take too, and each who does gets the next queue: ours are not one after the other.
  await until("a message to be out in each of the broker's queues", WITHIN_MS, async () => {
    await Promise.all(Array.from({ length: QUEUES }, () => sendRaw(node.direct, name, new Uint8Array([1]))));
    for (let n = 0; n < QUEUES && out.size < QUEUES; n++) {
      const queue = await take(broker, name, name, outMs + BEHIND_MS);
      if (queue === null) continue;
      taken++;
      out.add(queue);
    }
    return out.size === QUEUES;
  });
  await until(
    "what was out to be back",
    WITHIN_MS,
    async () => (await ever(broker, `%RETRY%${name}_${name}`)) >= taken,
  );
}
