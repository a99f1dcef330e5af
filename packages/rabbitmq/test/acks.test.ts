import { EventEmitter } from "node:events";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import type { Delivery, ReceiverEvents } from "@tallymq/core/spi";
import { virtualClock } from "@tallymq/testkit";
import { AckFlow } from "../src/acks.ts";
import type { RabbitChannel } from "../src/channel.ts";
import { RabbitReceiver } from "../src/receiver.ts";
import { ORDERS, signal, Stage } from "./stage.ts";

/** The broker's books of a channel, with its rules: what it does not hold cannot be settled, by itself or as the end of a `multiple`. */
class Books {
  readonly held = new Set<number>();
  readonly acked = new Set<number>();
  frames = 0;

  ack(tag: number, multiple: boolean): void {
    this.frames++;
    if (!this.held.has(tag)) throw new Error(`unknown delivery tag ${tag}`);
    for (const one of multiple ? [...this.held].filter((t) => t <= tag) : [tag]) {
      this.held.delete(one);
      this.acked.add(one);
    }
  }

  nack(tag: number): void {
    this.frames++;
    if (!this.held.delete(tag)) throw new Error(`unknown delivery tag ${tag}`);
  }
}

const at = (tag: number): Delivery => ({ token: tag }) as unknown as Delivery;

type Step = { readonly do: "deliver" | "ack" | "release" | "flush" | "ackAny"; readonly pick: number };
const step: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom("deliver", "deliver", "ack", "ack", "ack", "release", "flush", "ackAny"),
  pick: fc.nat(1_000),
});

describe("merged acks", () => {
  it("rule 15: merged acks never cover an unfinished tag, name only tags that the broker holds, and leave nothing behind", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const books = new Books();
        const flow = new AckFlow(books);
        const open: number[] = [];
        const done = new Set<number>();
        const released = new Set<number>();
        let last = 0;
        for (const { do: what, pick } of steps) {
          if (what === "deliver") {
            books.held.add(++last);
            flow.delivered(last);
            open.push(last);
          } else if (what === "flush") flow.flush(false);
          else if (what === "ackAny") {
            // Any tag: open, settled before, or not delivered yet. Only an open one may count.
            const tag = 1 + (pick % (last + 3));
            flow.ack(at(tag));
            const index = open.indexOf(tag);
            if (index >= 0) done.add(...(open.splice(index, 1) as [number]));
          } else if (open.length > 0) {
            const [tag] = open.splice(pick % open.length, 1) as [number];
            if (what === "ack") {
              flow.ack(at(tag));
              done.add(tag);
            } else {
              flow.release(at(tag));
              released.add(tag);
            }
          }
          for (const tag of books.acked) expect(done.has(tag)).toBe(true);
        }
        flow.flush(true);
        expect([...books.acked].sort((a, b) => a - b)).toEqual([...done].sort((a, b) => a - b));
        expect([...books.held].sort((a, b) => a - b)).toEqual([...open].sort((a, b) => a - b));
        expect([flow.open, flow.pending]).toEqual([open.length, false]);
      }),
      { numRuns: 2_000 },
    );
  });

  it("sixteen leave alone in one flush, since the broker drops what its channel holds back; a last flush takes all", () => {
    const singles: number[] = [];
    const flow = new AckFlow({ ack: (tag, multiple) => void (multiple || singles.push(tag)), nack: () => {} });
    for (let tag = 1; tag <= 60; tag++) flow.delivered(tag);
    for (let tag = 2; tag <= 60; tag++) flow.ack(at(tag));
    expect([flow.flush(false), flow.flush(false), flow.flush(false)]).toEqual([0, 16, 16]);
    expect(flow.pending).toBe(true);
    expect(flow.flush(true)).toBe(27);
    expect(singles.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 59 }, (_, i) => i + 2));
  });

  it("what is settled behind an unfinished tag waits one flush, then goes alone", () => {
    const frames: string[] = [];
    const flow = new AckFlow({
      ack: (tag, multiple) => frames.push(`${tag}${multiple ? "m" : ""}`),
      nack: (tag) => frames.push(`-${tag}`),
    });
    for (let tag = 1; tag <= 7; tag++) flow.delivered(tag);
    for (const tag of [1, 2, 5, 6, 7]) flow.ack(at(tag));
    flow.flush(false);
    expect(frames.splice(0)).toEqual(["2m"]);
    flow.flush(false);
    expect(frames.splice(0)).toEqual(["5", "6", "7"]);
    flow.ack(at(4));
    flow.ack(at(3));
    flow.flush(false);
    // 7 is the end of the prefix, but the broker no longer holds it.
    expect(frames.splice(0)).toEqual(["4m"]);
    flow.flush(true);
    expect(frames).toEqual([]);
  });

  it("one slow handler does not make the books grow", () => {
    const flow = new AckFlow({ ack: () => {}, nack: () => {} });
    flow.delivered(1);
    for (let tag = 2; tag <= 100_000; tag++) {
      flow.delivered(tag);
      flow.ack(at(tag));
      if (tag % 100 === 0) flow.flush(true);
    }
    expect([flow.open, flow.unsent.length]).toEqual([1, 0]);
  });
});

describe("through the receiver", () => {
  it("rule 15: any order of completion: no unfinished tag is covered, and everything finished is acked once it can be", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(
          Array.from({ length: 30 }, (_, i) => i),
          { minLength: 30 },
        ),
        fc.integer({ min: 1, max: 30 }),
        async (order, stopAt) => {
          const books = new Books();
          const breaches: string[] = [];
          await using stage = await Stage.open({
            onConsume({ tag }, channel) {
              for (let i = 0; i < 30; i++) books.held.add(Number(channel.deliver({ consumerTag: tag, body: `${i}` })));
            },
            onSettle({ kind, tag, multiple }) {
              try {
                if (kind === "ack") books.ack(tag, multiple);
                else books.nack(tag);
              } catch (error) {
                breaches.push(String(error));
              }
              for (const acked of books.acked)
                if (!finished.has(acked)) breaches.push(`${acked} was acked before it was settled`);
            },
          });
          const finished = new Set<number>();
          const receiving = await stage.receiver();
          const deliveries = await receiving.first(30);
          for (const index of order.slice(0, stopAt)) {
            finished.add(deliveries[index]!.token as number);
            receiving.ack(deliveries[index]!);
            if (index % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
          }
          // Every finished one gets through without any more help, those behind an unfinished tag alone.
          await vi.waitFor(() => expect(books.acked.size).toBe(finished.size), { timeout: 2_000, interval: 2 });
          expect(breaches).toEqual([]);
          expect(books.acked).toEqual(finished);
        },
      ),
      { numRuns: 25 },
    );
  }, 30_000);

  it("what is settled together leaves as one multiple ack", async () => {
    await using stage = await Stage.open({
      onConsume({ tag }, channel) {
        for (let i = 0; i < 50; i++) channel.deliver({ consumerTag: tag });
      },
    });
    const receiving = await stage.receiver();
    const deliveries = await receiving.first(50);
    for (const delivery of deliveries) receiving.ack(delivery);
    await stage.server.waitFor((s) => s.settlements.length > 0);
    expect(stage.server.settlements.map((s) => [s.kind, s.tag, s.multiple])).toEqual([["ack", 50, true]]);
  });

  it("acks wait for a millisecond, and no longer than until a quarter of the credit is settled", async () => {
    const clock = virtualClock();
    const acks: unknown[] = [];
    const raw = Object.assign(new EventEmitter(), {
      prefetch: async () => {},
      consume: async () => {},
      ack: ({ fields }: { fields: { deliveryTag: number } }, multiple: boolean) =>
        void acks.push([fields.deliveryTag, multiple]),
    });
    const channel = { raw, onEnd: null, over: false, close: async () => {} } as unknown as RabbitChannel;
    const deliveries: Delivery[] = [];
    const events = { deliver: (batch) => void deliveries.push(...batch) } as ReceiverEvents;
    const subscription = { topic: ORDERS, group: "billing", credit: 40, consumer: "c1" };
    const receiver = await RabbitReceiver.open(channel, "q", subscription, events, clock, signal());
    for (let tag = 1; tag <= 40; tag++) raw.emit("delivery", { fields: { deliveryTag: tag }, properties: {} });
    await clock.advance(0);
    const settle = async (from: number, to: number): Promise<void> => {
      receiver.settle(deliveries.slice(from - 1, to).map((delivery) => ({ kind: "ack", delivery })));
      await clock.advance(0);
    };

    await settle(1, 9);
    expect(acks).toEqual([]);
    await clock.advance(1);
    expect(acks.splice(0)).toEqual([[9, true]]);
    await settle(10, 18);
    expect(acks).toEqual([]);
    await settle(19, 19);
    expect(acks.splice(0)).toEqual([[19, true]]);
    await settle(20, 39);
    expect(acks.splice(0)).toEqual([[39, true]]);
    // Nothing is out any more, and still it waits: the next may be on its way.
    await settle(40, 40);
    expect(acks).toEqual([]);
    await clock.advance(1);
    expect(acks).toEqual([[40, true]]);
  });
});
