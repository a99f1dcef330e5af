import { readHostPort } from "@tallymq/core/spi";
import { realClock } from "@tallymq/testkit";
import type { RemotingClient } from "../../../packages/rocketmq/src/remoting/client.ts";
import { Cluster } from "../../../packages/rocketmq/src/remoting/cluster.ts";
import { dialTcp } from "../../../packages/rocketmq/src/remoting/socket.ts";

const PULL = 11;
const AT_ONCE = 32;
const WITHIN_MS = 10_000;
/** Under whose name the log is read; the broker wants one. It takes nothing from anybody. */
const READER = "compare-reader";

/** Where things are in a message as the broker writes it down, up to its first address. */
const SYS_FLAG = 36;
const BORN_HOST = 48;
const BORN_IPV6 = 1 << 4;
const STORED_IPV6 = 1 << 5;

/**
 * Copies of each id in the topic's log, from the first to the last offset of each queue, asked of the broker itself in its
 * own protocol: no proxy, and nothing by which a client has published or consumes.
 *
 * @throws where a queue does not give as many as its offsets say
 */
export async function copiesIn(names: string, topic: string): Promise<ReadonlyMap<string, number>> {
  const cluster = new Cluster({
    names: [readHostPort("names", names, "localhost:9876")],
    dial: dialTcp,
    clock: realClock,
    credentials: null,
    within: WITHIN_MS,
  });
  try {
    const copies = new Map<string, number>();
    for (const master of await cluster.masters()) {
      const there = await master.topic(topic);
      if (there === null) throw new Error(`topic ${topic} is not there`);
      await master.makeGroup(READER, false, 1);
      for (const { queue, min, max } of await master.offsets(topic, READER, there.queues)) {
        for (let at = min; at < max;) {
          const bodies = await pulled(master.client, topic, queue, at);
          for (const body of bodies) {
            const { id } = JSON.parse(body) as { readonly id: string };
            copies.set(id, (copies.get(id) ?? 0) + 1);
          }
          at += bodies.length;
          if (bodies.length === 0 || at > max)
            throw new Error(`${topic}, queue ${queue}: ends at ${at}, not at ${max}`);
        }
      }
    }
    return copies;
  } finally {
    cluster.close();
  }
}

async function pulled(
  master: RemotingClient,
  topic: string,
  queue: number,
  offset: number,
): Promise<readonly string[]> {
  const { body } = await master.must(`queue ${queue} of ${topic}`, PULL, {
    consumerGroup: READER,
    topic,
    queueId: String(queue),
    queueOffset: String(offset),
    maxMsgNums: String(AT_ONCE),
    // Bit 2: what follows is the subscription; nothing is committed, nothing waited for.
    sysFlag: "4",
    commitOffset: "0",
    suspendTimeoutMillis: "0",
    subscription: "*",
    expressionType: "TAG",
    subVersion: "0",
  });
  return bodiesOf(body);
}

/** Of messages one behind the other, each with its length in front. */
export function bodiesOf(messages: Uint8Array): readonly string[] {
  const view = new DataView(messages.buffer, messages.byteOffset, messages.byteLength);
  const bodies: string[] = [];
  for (let at = 0; at < messages.length; at += view.getUint32(at)) {
    const flag = view.getUint32(at + SYS_FLAG);
    const born = (flag & BORN_IPV6) === 0 ? 8 : 20;
    const stored = (flag & STORED_IPV6) === 0 ? 8 : 20;
    // Its address, when and where it was stored, deliveries, and the offset of its half.
    const length = at + BORN_HOST + born + 8 + stored + 4 + 8;
    const from = length + 4;
    bodies.push(new TextDecoder().decode(messages.subarray(from, from + view.getUint32(length))));
  }
  return bodies;
}
