// By hand: node packages/core/test/support/consume-cpu.ts [deliveries]
// Time in the consumer’s policy layer for each delivery, synchronous stretches only, over a receiver that does nothing.
import { createConsumerBuilder } from "../../src/consume/consumer.ts";
import { createEvents } from "../../src/events.ts";
import { MemoryBound } from "../../src/memory.ts";
import { Runners } from "../../src/park/runners.ts";
import { nodePlatform } from "../../src/platform/node.ts";
import type { Delivery, Receiver, ReceiverEvents, Subscription } from "../../src/spi.ts";
import { bytes } from "../../src/codec.ts";
import { topic } from "../../src/topic.ts";
import { asJson, incoming, ScriptedTransport } from "./receiving.ts";

const total = Number(process.argv[2] ?? 1_000_000);
const BATCH = 100;
const body = asJson({ customer: "c-17", items: Array.from({ length: 8 }, (_, i) => ({ sku: `sku-${i}`, n: i })) });

class Sink extends ScriptedTransport {
  deliver: ReceiverEvents["deliver"] = () => {};
  settled = 0;
  batches = 0;
  override openReceiver(_subscription: Subscription, events: ReceiverEvents): Promise<Receiver> {
    this.deliver = events.deliver;
    return Promise.resolve({
      settle: (batch) => {
        this.settled += batch.length;
        this.batches++;
      },
      extend: () => Promise.resolve(true),
      pause() {},
      resume() {},
      stop: () => Promise.resolve(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }
}

const { clock, random, diagnose } = nodePlatform();
const cases = [
  { name: "bytes, no key, synchronous", codec: "bytes", key: () => null, ordered: false, handler: () => {} },
  {
    name: "bytes, 1,000 keys, synchronous",
    codec: "bytes",
    key: (i: number) => `key-${i % 1_000}`,
    ordered: false,
    handler: () => {},
  },
  {
    name: "bytes, 1,000 ordered keys, synchronous",
    codec: "bytes",
    key: (i: number) => `key-${i % 1_000}`,
    ordered: true,
    handler: () => {},
  },
  { name: "JSON, no key, synchronous", codec: "json", key: () => null, ordered: false, handler: () => {} },
  { name: "bytes, no key, async, no wait", codec: "bytes", key: () => null, ordered: false, handler: async () => {} },
  {
    name: "bytes, no key, async, one hop",
    codec: "bytes",
    key: () => null,
    ordered: false,
    handler: async () => void (await null),
  },
] as const;

const rows = [];
for (const { name, codec, key, ordered, handler } of cases) {
  const sink = new Sink();
  const runtime = {
    service: "s",
    run: "r",
    clock,
    random,
    events: createEvents(() => clock.wall(), diagnose),
    transport: sink,
    reconnect: { min: 1, max: 1 },
    connectWithin: 1_000,
  };
  const options = { ordered, key: () => "" };
  const of = codec === "bytes" ? topic("t", { ...options, codec: bytes }) : topic("t", options);
  const consumer = await createConsumerBuilder(
    runtime,
    {
      inbox: null,
      transacted: null,
      publish: () => Promise.reject(new Error("nothing is published here")),
      members: null,
      audit: () => Promise.resolve(),
      memory: new MemoryBound(runtime.events, null),
      runners: new Runners(),
    },
    "g",
    { lanes: 64 },
    () => {},
    () => {},
  )
    .on(of as never, handler)
    .start();
  const run = async (count: number): Promise<number> => {
    let spent = 0;
    for (let n = 0; n < count; n += BATCH) {
      // Made outside the measure: decoding the wire is the adapter's.
      const batch: Delivery[] = Array.from({ length: BATCH }, (_, i) => ({
        token: n + i,
        lane: 0,
        epoch: 1,
        place: null,
        count: 1,
        message: incoming({ id: `m${n + i}`, key: key(n + i), body }),
      }));
      const target = sink.settled + BATCH;
      const from = performance.now();
      sink.deliver(batch);
      while (sink.settled < target) await null;
      spent += performance.now() - from;
    }
    return (spent * 1_000) / count;
  };
  await run(total / 10);
  const micros = [await run(total / 5), await run(total / 5), await run(total / 5)].toSorted((a, b) => a - b);
  rows.push({
    case: name,
    "µs a delivery": micros[1]!.toFixed(3),
    "deliveries a batch": (sink.settled / sink.batches).toFixed(1),
  });
  await consumer.close();
}
console.table(rows);
