// Questions that the adapter does not ask, in the admin protocol as the adapter speaks it.
import { readHostPort } from "@tallymq/core/spi";
import { realClock } from "@tallymq/testkit";
import { RemotingClient } from "../../../packages/rocketmq/src/remoting/client.ts";
import { type Answer, readJson } from "../../../packages/rocketmq/src/remoting/frames.ts";
import { dialTcp } from "../../../packages/rocketmq/src/remoting/socket.ts";

/** Codes of requests. */
const ASK = { maxOffset: 30, cluster: 106, makeGroup: 200, topic: 351, group: 352, pop: 200_050 } as const;
const WITHIN_MS = 3_000;

/** Addresses of what is registered under the one broker name that there is, by broker id: 0 is the master. */
export async function registered(names: string): Promise<ReadonlyMap<string, string>> {
  const { brokerAddrTable } = readJson((await ask(names, ASK.cluster)).body) as {
    brokerAddrTable?: Record<string, { brokerAddrs?: Record<string, string> }>;
  };
  return new Map(Object.entries(Object.values(brokerAddrTable ?? {})[0]?.brokerAddrs ?? {}));
}

/** A group as somebody else makes it, who has the broker give up after so many deliveries beyond the first. */
export async function makeGroup(broker: string, groupName: string, retryMaxTimes: number): Promise<void> {
  const { code } = await ask(broker, ASK.makeGroup, {}, JSON.stringify({ groupName, retryMaxTimes }));
  if (code !== 0) throw new Error(`${broker} did not make ${groupName}: ${code}`);
}

/** Whether this broker, master or replica, has both of them. */
export async function knows(broker: string, topic: string, group: string): Promise<boolean> {
  const answers = [await ask(broker, ASK.topic, { topic }), await ask(broker, ASK.group, { group })];
  return answers.every(({ code, body }) => code === 0 && body.length > 0 && readJson(body) !== null);
}

/**
 * Takes one message of a topic, which nobody else gets for so long; nobody acks it.
 * @returns by which of the broker's queues of what is out it comes back; null: there was none
 */
export async function take(broker: string, topic: string, group: string, invisibleMs: number): Promise<string | null> {
  const { code, fields } = await ask(broker, ASK.pop, {
    topic,
    consumerGroup: group,
    // Of any queue, from its beginning.
    queueId: "-1",
    initMode: "0",
    maxMsgNums: "1",
    invisibleTime: String(invisibleMs),
    pollTime: "0",
    bornTime: String(Date.now()),
    order: "false",
  });
  return code === 0 ? (fields["reviveQid"] ?? null) : null;
}

/** How many messages a queue has ever had; 0 where it is not there. */
export async function ever(broker: string, topic: string): Promise<number> {
  const { code, fields } = await ask(broker, ASK.maxOffset, { topic, queueId: "0" });
  return code === 0 ? Number(fields["offset"]) : 0;
}

/** One question, on a connection of its own. */
async function ask(
  at: string,
  code: number,
  fields: Readonly<Record<string, string>> = {},
  body = "",
): Promise<Answer> {
  const client = new RemotingClient(readHostPort("broker", at, "localhost:10911"), {
    dial: dialTcp,
    clock: realClock,
    credentials: null,
    within: WITHIN_MS,
  });
  try {
    return await client.ask(code, fields, Buffer.from(body));
  } finally {
    client.close();
  }
}
