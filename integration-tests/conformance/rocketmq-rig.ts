import { rocketmq } from "@tallymq/rocketmq";
import type { Rig } from "@tallymq/testkit/conformance";
import type { RocketNode } from "../brokers/index.ts";
import { sendRaw } from "../brokers/rocketmq/raw.ts";

/** A name server, a broker and a proxy behind a TCP proxy, with everything that can be done to them. */
export function rocketRig(node: RocketNode): Rig {
  let names = 0;
  return {
    name: "rocketmq()",
    broker: () =>
      rocketmq({
        endpoints: [node.proxied],
        names: [node.names],
        invisible: "10s",
        heartbeat: "1s",
        receiveWait: "1s",
        queues: 4,
      }),
    topic: (stem) => `${stem}-${++names}`,
    limitMs: 60_000,
    quietMs: 500,
    fetch: 0,
    endsWithConnection: true,
    // All three at once: with a proxy that stays a session goes on.
    kill: { begin: () => node.kill(), end: () => node.start() },
    cut: async () => void node.link.cut(),
    // What clients send arrives, what the proxy answers does not.
    pause: { begin: async () => node.link.halfOpen("broker"), end: () => node.link.heal() },
    block: null,
    nack: null,
    foreign: (topic, body) => sendRaw(node.direct, topic, body),
  };
}
