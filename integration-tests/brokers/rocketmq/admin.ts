import { connect } from "node:net";

/** Codes of requests. */
const ASK = { cluster: 106, makeGroup: 200, topic: 351, group: 352 } as const;
const WITHIN_MS = 3_000;

/** Addresses of what is registered under the one broker name that there is, by broker id: 0 is the master. */
export async function registered(names: string): Promise<ReadonlyMap<string, string>> {
  const { body } = await ask(names, ASK.cluster);
  // The keys of the answer's maps are numbers without quotes.
  const { brokerAddrTable } = JSON.parse(body.replace(/([{,]\s*)(\d+)\s*:/g, '$1"$2":')) as {
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
  return answers.every(({ code, body }) => code === 0 && body !== "" && body !== "null");
}

/** One question in the admin protocol, on a connection of its own: `length · header's length · header · body`. */
async function ask(
  at: string,
  code: number,
  extFields: Readonly<Record<string, string>> = {},
  body = "",
): Promise<{ readonly code: number; readonly body: string }> {
  const [host, port] = at.split(":");
  const socket = connect({ host: host!, port: Number(port), timeout: WITHIN_MS });
  socket.on("timeout", () => socket.destroy(new Error(`no answer of ${at}`)));
  try {
    const header = Buffer.from(JSON.stringify({ code, language: "OTHER", version: 0, opaque: 1, flag: 0, extFields }));
    const head = Buffer.alloc(8);
    head.writeUInt32BE(4 + header.length + Buffer.byteLength(body), 0);
    head.writeUInt32BE(header.length, 4);
    socket.write(Buffer.concat([head, header, Buffer.from(body)]));
    let got = Buffer.alloc(0);
    for await (const chunk of socket) {
      got = Buffer.concat([got, chunk as Buffer]);
      if (got.length < 8 || got.length < 4 + got.readUInt32BE(0)) continue;
      const begin = 8 + (got.readUInt32BE(4) & 0xffffff);
      const answer = JSON.parse(got.subarray(8, begin).toString()) as { readonly code: number };
      return { code: answer.code, body: got.subarray(begin, 4 + got.readUInt32BE(0)).toString() };
    }
    throw new Error(`${at} has closed the connection`);
  } finally {
    socket.destroy();
  }
}
