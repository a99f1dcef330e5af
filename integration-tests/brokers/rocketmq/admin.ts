// Questions that the adapter does not ask, in the admin protocol as the adapter speaks it.
import { readHostPort } from "@tallymq/core/spi";
import { realClock } from "@tallymq/testkit";
import { RemotingClient } from "../../../packages/rocketmq/src/remoting/client.ts";
import { type Answer, readJson } from "../../../packages/rocketmq/src/remoting/frames.ts";
import { dialTcp } from "../../../packages/rocketmq/src/remoting/socket.ts";

/** Codes of requests. */
const ASK = { cluster: 106, makeGroup: 200, topic: 351, group: 352 } as const;
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
