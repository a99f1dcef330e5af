import { connect } from "node:net";

const CLUSTER = 106;
const WITHIN_MS = 3_000;

/** Addresses of what is registered under the one broker name that there is, by broker id: 0 is the master. */
export async function registered(names: string): Promise<ReadonlyMap<string, string>> {
  // The keys of the answer's maps are numbers without quotes.
  const body = (await ask(names, CLUSTER)).replace(/([{,]\s*)(\d+)\s*:/g, '$1"$2":');
  const { brokerAddrTable } = JSON.parse(body) as {
    brokerAddrTable?: Record<string, { brokerAddrs?: Record<string, string> }>;
  };
  return new Map(Object.entries(Object.values(brokerAddrTable ?? {})[0]?.brokerAddrs ?? {}));
}

/** One question in the admin protocol, on a connection of its own: `length · header's length · header · body`. */
async function ask(at: string, code: number): Promise<string> {
  const [host, port] = at.split(":");
  const socket = connect({ host: host!, port: Number(port), timeout: WITHIN_MS });
  socket.on("timeout", () => socket.destroy(new Error(`no answer of ${at}`)));
  try {
    const header = Buffer.from(JSON.stringify({ code, language: "OTHER", version: 0, opaque: 1, flag: 0 }));
    const head = Buffer.alloc(8);
    head.writeUInt32BE(4 + header.length, 0);
    head.writeUInt32BE(header.length, 4);
    socket.write(Buffer.concat([head, header]));
    let got = Buffer.alloc(0);
    for await (const chunk of socket) {
      got = Buffer.concat([got, chunk as Buffer]);
      if (got.length < 8 || got.length < 4 + got.readUInt32BE(0)) continue;
      return got.subarray(8 + (got.readUInt32BE(4) & 0xffffff), 4 + got.readUInt32BE(0)).toString();
    }
    throw new Error(`${at} has closed the connection`);
  } finally {
    socket.destroy();
  }
}
