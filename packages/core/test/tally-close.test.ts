import { memory, memoryInbox, memoryOutbox, seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { openTally, type TallyEvent, topic } from "../src/index.ts";
import type { Broker, OutboxSpec, StoreHost } from "../src/spi.ts";
import { watch } from "./support/scripted-transport.ts";

const plain = topic<number>("plain", { groups: ["g"] });

/** A broker whose transport leaves as `dispose` does. */
function leaving(dispose: () => Promise<void>): Broker {
  const real = memory();
  return {
    name: "leaving",
    open(host) {
      const transport = real.open(host);
      return {
        name: "leaving",
        traits: transport.traits,
        admin: transport.admin,
        halfMessages: null,
        members: null,
        audit: null,
        openSender: (events, signal) => transport.openSender(events, signal),
        openReceiver: (subscription, events, signal) => transport.openReceiver(subscription, events, signal),
        async [Symbol.asyncDispose]() {
          await transport[Symbol.asyncDispose]();
          return dispose();
        },
      };
    },
  };
}

async function open(dispose: () => Promise<void>) {
  const clock = virtualClock();
  const events: TallyEvent[] = [];
  const platform = { clock, random: seededRandom(1), diagnose: (event: TallyEvent) => void events.push(event) };
  const opening = openTally({ service: "shop", broker: leaving(dispose) }, platform);
  await clock.advance(0);
  return { clock, events, tally: await opening };
}

describe("close()", () => {
  it("ends at its limit, and a second later at most, also when the transport does not leave", async () => {
    const { clock, events, tally } = await open(() => new Promise(() => {}));
    const closed = watch(tally.close({ within: "2s" }));
    await clock.advance(1_900);
    expect(closed.state).toBe("pending");
    await clock.advance(1_200);
    expect(closed.state).toBe("resolved");
    expect(events.at(-1)?.type).toBe("closed");
    expect(clock.pending()).toBe(0);
  });

  it("surfaces a transport that fails to leave, and is closed all the same", async () => {
    const { clock, events, tally } = await open(() => Promise.reject(new Error("the socket is gone")));
    const closed = watch(tally.close());
    await clock.advance(0);
    expect(closed.state).toBe("resolved");
    expect(events.slice(-2)).toMatchObject([
      { type: "surfaced", what: "leaving", text: "did not close: the socket is gone" },
      { type: "closed", abandoned: 0 },
    ]);
  });

  it("rejects a limit that is none, and closes nothing for it", async () => {
    const { clock, tally } = await open(async () => {});
    await expect(tally.close({ within: 0 })).rejects.toMatchObject({ code: "bad-config" });
    await expect(tally.close({ within: "soon" as never })).rejects.toMatchObject({ code: "bad-config" });
    const done = watch(tally.publish(plain, 1));
    await clock.advance(0);
    expect(done.state).toBe("resolved");
    const closed = watch(tally.close());
    await clock.advance(0);
    expect(closed.state).toBe("resolved");
  });

  it("gives an entry of publishMany that is nothing its own error", async () => {
    const { clock, tally } = await open(async () => {});
    const many = watch(tally.publishMany(plain, [{ body: 1 }, null as never, { body: 2 }]));
    await clock.advance(0);
    expect(many.value?.map((r) => ("code" in r ? r.code : r.state))).toEqual(["confirmed", "bad-message", "confirmed"]);
    const closed = watch(tally.close());
    await clock.advance(0);
    expect(closed.state).toBe("resolved");
  });
});

describe("close(), in its order", () => {
  const words = topic<string>("words", { groups: ["g"], outbox: "always" });

  /** A tally of everything, which says what it lets go of, and when. */
  async function whole(more: { readonly hangs?: "put" | "dispose" } = {}) {
    const clock = virtualClock();
    const order: string[] = [];
    const real = memory();
    const broker: Broker = {
      name: "whole",
      open(host) {
        const transport = real.open(host);
        return {
          name: "whole",
          traits: transport.traits,
          admin: transport.admin,
          halfMessages: null,
          members: null,
          audit: null,
          async openSender(events, signal) {
            const sender = await transport.openSender(events, signal);
            return {
              lane: (message, kept) => sender.lane(message, kept),
              kept: (lane) => sender.kept(lane),
              send: (lane, batch, verdict) => sender.send(lane, batch, verdict),
              async [Symbol.asyncDispose]() {
                order.push("sender");
                await sender[Symbol.asyncDispose]();
              },
            };
          },
          async openReceiver(subscription, events, signal) {
            const receiver = await transport.openReceiver(subscription, events, signal);
            return {
              settle(batch) {
                order.push(`settled ${batch.length}`);
                receiver.settle(batch);
              },
              extend: (delivery, ms) => receiver.extend(delivery, ms),
              pause: (lane) => receiver.pause(lane),
              resume: (lane) => receiver.resume(lane),
              stop() {
                order.push("stopped");
                return receiver.stop();
              },
              async [Symbol.asyncDispose]() {
                order.push("receiver");
                await receiver[Symbol.asyncDispose]();
              },
            };
          },
          async [Symbol.asyncDispose]() {
            order.push("transport");
            await transport[Symbol.asyncDispose]();
          },
        };
      },
    };
    const rows = memoryOutbox();
    const outbox: OutboxSpec = {
      async openOutbox(host) {
        const store = await rows.openOutbox(host);
        return {
          ...store,
          put: (batch) => (more.hangs === "put" ? new Promise(() => {}) : store.put(batch)),
          async lease(...asked) {
            const lease = await store.lease(...asked);
            return {
              ...lease,
              async [Symbol.asyncDispose]() {
                order.push("lease");
                await lease[Symbol.asyncDispose]();
              },
            };
          },
          [Symbol.asyncDispose]() {
            order.push("outbox");
            return more.hangs === "dispose" ? new Promise(() => {}) : store[Symbol.asyncDispose]();
          },
        };
      },
    };
    const marks = memoryInbox();
    const inbox = {
      async openInbox(host: StoreHost) {
        const store = await marks.openInbox(host);
        return {
          ...store,
          async [Symbol.asyncDispose]() {
            order.push("inbox");
            await store[Symbol.asyncDispose]();
          },
        };
      },
    } as never;
    const pass = async (ms = 0): Promise<void> => {
      for (let i = 0; i < 20; i++) {
        await clock.advance(ms / 20);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const opening = openTally(
      { service: "shop", broker, outbox, inbox },
      { clock, random: seededRandom(1), diagnose: () => {} },
    );
    await pass();
    return { clock, order, rows, pass, tally: await opening };
  }

  it("closing: 1 consumers stop and their handlers finish, and may publish; 2 then publish() rejects; 3–6 lease, sessions, stores", async () => {
    const w = await whole();
    const gate = Promise.withResolvers<void>();
    const said: string[] = [];
    const starting = w.tally
      .consumer("g")
      .on(words, async (word) => {
        if (word !== "first") return;
        await gate.promise;
        said.push((await w.tally.publish(words, "from a handler", { id: "h1" })).state);
      })
      .start();
    await w.pass();
    await starting;
    const first = watch(w.tally.publish(words, "first"));
    await w.pass(1_200);
    expect(first.value?.state).toBe("stored");
    w.order.length = 0;
    const closed = watch(w.tally.close({ within: "10s" }));
    await w.pass(100);
    expect([closed.state, w.order]).toEqual(["pending", ["stopped"]]);
    gate.resolve();
    await w.pass(1_000);
    expect([said, closed.state]).toEqual([["stored"], "resolved"]);
    const late = watch(w.tally.publish(words, "late"));
    await w.pass();
    expect(late.error).toMatchObject({ code: "closed", mayArrive: false });
    expect(w.order).toEqual(["stopped", "settled 1", "receiver", "lease", "sender", "transport", "inbox", "outbox"]);
    // Stored while the relay took no more: the next process sends it.
    expect(w.rows.rows.map((row) => row.message.id)).toEqual(["h1"]);
    expect(w.clock.pending()).toBe(0);
  });

  it("a store that does not answer holds up nothing beyond the limit; who waits for it may have stored", async () => {
    const w = await whole({ hangs: "put" });
    const waits = watch(w.tally.publish(words, "word"));
    await w.pass();
    const closed = watch(w.tally.close({ within: "2s" }));
    await w.pass(8_000);
    expect(waits.error).toMatchObject({ code: "closed", mayArrive: true });
    expect(closed.state).toBe("resolved");
    expect(w.order.slice(-2)).toEqual(["inbox", "outbox"]);
  });

  it("nor does one that does not close", async () => {
    const w = await whole({ hangs: "dispose" });
    const closed = watch(w.tally.close({ within: "2s" }));
    await w.pass(4_000);
    expect(closed.state).toBe("resolved");
    expect(w.clock.pending()).toBe(0);
  });
});
