import { type Clock, readHostPort } from "@tallymq/core/spi";
import { Cluster } from "../src/remoting/cluster.ts";
import type { Dial } from "../src/remoting/socket.ts";

/** An answer as a server writes it. */
export function frame(opaque: number, code: number, fields: object, body: string, remark = ""): Buffer {
  const header = Buffer.from(JSON.stringify({ code, opaque, flag: 1, remark, extFields: fields }));
  const rest = Buffer.from(body);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + header.length + rest.length, 0);
  head.writeUInt32BE(header.length, 4);
  return Buffer.concat([head, header, rest]);
}

type Fields = Readonly<Record<string, string>>;

/** A name server and a broker that answer what the adapter asks; each queue is at 3 to 8. */
export class FakeCluster {
  readonly kinds: Record<string, string> = {};
  readonly groups: Record<string, boolean> = {};
  /** `group topic queue` */
  readonly offsets: Map<string, number> = new Map();
  readonly made: string[] = [];
  /** Of groups that were made. */
  readonly retries: number[] = [];
  /** So often the name servers do not know yet of a topic that was made. */
  late = 0;
  /** `topic id`: what the index finds. */
  readonly indexed: Map<string, string> = new Map();
  flush = "SYNC_FLUSH";
  /** More of the broker's settings; the controller's. */
  readonly settings: Record<string, string> = {};
  readonly controller: Record<string, string> = {};
  version = "V5_5_0";
  inSyncSlaves = 1;
  /** A second broker, of which only a replica is left. */
  masterless = false;
  writes = true;
  /** Ports that nobody listens on. */
  readonly away: Set<number> = new Set();
  silent = false;
  garbage = false;
  closed = 0;

  readonly #connected: ((thrown: Error) => void)[] = [];

  readonly dial: Dial = (host, port, events) => {
    if (this.away.has(port)) return Promise.reject(new Error(`connect ECONNREFUSED ${host}:${port}`));
    this.#connected.push((thrown) => events.ended(thrown));
    return Promise.resolve({
      write: (bytes) => {
        if (this.silent) return;
        if (this.garbage) return events.bytes(Buffer.from("HTTP/1.1 400 Bad Request"));
        const all = Buffer.from(bytes);
        const length = all.readUInt32BE(4);
        const { code, opaque, extFields } = JSON.parse(all.subarray(8, 8 + length).toString()) as {
          code: number;
          opaque: number;
          extFields: Fields;
        };
        const [answer, fields, body, remark] = this.#answer(code, extFields, all.subarray(8 + length).toString());
        queueMicrotask(() => events.bytes(frame(opaque, answer, fields, body, remark)));
      },
      close: () => void this.closed++,
    });
  };

  /** Breaks what is connected. */
  async restart(): Promise<void> {
    for (const ended of this.#connected.splice(0)) ended(new Error("the connection was reset"));
    await Promise.resolve();
  }

  cluster(): Cluster {
    const clock: Clock = {
      now: () => 0,
      wall: () => 0,
      after: (_, fn) => {
        setImmediate(fn);
        return { cancel: () => {} };
      },
    };
    return new Cluster({
      names: [readHostPort("names", "localhost:9876", "localhost:9876")],
      dial: this.dial,
      clock,
      credentials: null,
      within: 1_000,
    });
  }

  #answer(code: number, f: Fields, body: string): readonly [number, object, string, string?] {
    const at = `${f["consumerGroup"]} ${f["topic"]} ${f["queueId"]}`;
    switch (code) {
      case 106:
        return [
          0,
          {},
          `{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:10911",1:"127.0.0.1:10921"}}${
            this.masterless ? ',"broker-b":{"brokerAddrs":{1:"127.0.0.1:10931"}}' : ""
          }}}`,
        ];
      case 105:
        return [f["topic"]! in this.kinds && this.late-- <= 0 ? 0 : 17, {}, "{}"];
      case 351: {
        const kind = this.kinds[f["topic"]!];
        if (kind === undefined) return [17, {}, ""];
        return [
          0,
          {},
          JSON.stringify({ readQueueNums: 2, perm: this.writes ? 6 : 4, attributes: { "message.type": kind } }),
        ];
      }
      case 17:
        this.made.push(f["topic"]!);
        this.kinds[f["topic"]!] = f["attributes"]!.replace("+message.type=", "");
        return [0, {}, ""];
      case 352: {
        const ordered = this.groups[f["group"]!];
        return ordered === undefined
          ? [26, {}, ""]
          : [0, {}, JSON.stringify({ consumeMessageOrderly: ordered, retryMaxTimes: 1_000 })];
      }
      case 200: {
        const { groupName, consumeMessageOrderly, retryMaxTimes } = JSON.parse(body) as {
          groupName: string;
          consumeMessageOrderly: boolean;
          retryMaxTimes: number;
        };
        this.retries.push(retryMaxTimes);
        this.made.push(groupName);
        this.groups[groupName] = consumeMessageOrderly;
        return [0, {}, ""];
      }
      case 30:
        return [0, { offset: "8" }, ""];
      case 31:
        return [0, { offset: "3" }, ""];
      case 14: {
        const offset = this.offsets.get(at);
        return offset === undefined ? [22, {}, ""] : [0, { offset: String(offset) }, ""];
      }
      case 12: {
        const found = this.indexed.get(`${f["topic"]} ${f["key"]}`);
        return found === undefined ? [22, {}, "", "can not find message"] : [0, {}, found];
      }
      case 15:
        this.offsets.set(at, Number(f["commitOffset"]));
        return [0, {}, ""];
      case 26:
        return [0, {}, `aclSecret=s3cret\nflushDiskType=${this.flush}\n${lines(this.settings)}`];
      case 28:
        return [0, {}, JSON.stringify({ table: { brokerVersionDesc: this.version } })];
      case 907:
        return [0, {}, JSON.stringify({ master: true, inSyncSlaveNums: this.inSyncSlaves })];
      case 1010:
        return [0, {}, lines(this.controller)];
      default:
        return [3, {}, "", `request type ${code} not supported\n\tat org.apache.rocketmq.Some`];
    }
  }
}

function lines(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
}
