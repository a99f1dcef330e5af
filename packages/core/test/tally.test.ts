import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { memory, seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import {
  EVENT_CHANNEL,
  openTally,
  type Tally,
  TallyError,
  type TallyEvent,
  type TallyOptions,
  topic,
} from "../src/index.ts";
import type { Broker } from "../src/spi.ts";

const orders = topic<{ n: number }>("orders", { groups: ["billing"] });

/** A broker that cannot be opened, for the reason given. */
function shut(error: TallyError): Broker & { disposed: number } {
  const real = memory();
  const broker = {
    name: "shut",
    disposed: 0,
    open: (host: Parameters<Broker["open"]>[0]) => {
      const transport = real.open(host);
      return {
        ...transport,
        name: "shut",
        traits: transport.traits,
        admin: transport.admin,
        halfMessages: null,
        members: null,
        audit: null,
        openSender: () => Promise.reject(error),
        openReceiver: () => Promise.reject(error),
        async [Symbol.asyncDispose]() {
          broker.disposed++;
          await transport[Symbol.asyncDispose]();
        },
      };
    },
  };
  return broker;
}

describe("openTally", () => {
  it.each([
    ["no service", { broker: memory() }, "service must be given"],
    ["a service that is too long", { service: "s".repeat(121), broker: memory() }, "1 to 120 bytes"],
  ] as readonly (readonly [string, unknown, string])[])("refuses %s", async (_name, options, text) => {
    const error: unknown = await openTally(options as TallyOptions).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "bad-config" });
    expect((error as TallyError).message).toContain(text);
  });

  it("rejects for a listed topic that contradicts the broker; one that was not listed rejects its own messages", async () => {
    const real = memory();
    const broker: Broker = {
      name: "strict",
      open(host) {
        const transport = real.open(host);
        const declare: typeof transport.admin.declare = (plans) =>
          plans.some(({ name }) => name === "orders")
            ? Promise.reject(new TallyError("topology", "another kind of queue"))
            : Promise.resolve();
        const admin = { declare, declareDelays: declare as never, backlog: () => Promise.resolve(0) };
        return {
          name: "strict",
          traits: transport.traits,
          admin,
          halfMessages: null,
          members: null,
          audit: null,
          openSender: (events, signal) => transport.openSender(events, signal),
          openReceiver: (s, events, signal) => transport.openReceiver(s, events, signal),
          [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
        };
      },
    };
    const opening = openTally({ service: "shop", broker, topics: [topic("mails"), orders] });
    await expect(opening).rejects.toMatchObject({ code: "topology" });
    await using tally = await openTally({ service: "shop", broker, topics: [topic("mails")] });
    await expect(tally.publish(orders, { n: 1 })).rejects.toMatchObject({ code: "topology", mayArrive: false });
  });

  it("rejects with what waiting cannot mend, and leaves nothing open", async () => {
    const clock = virtualClock();
    const broker = shut(new TallyError("unauthorized", "the broker does not know this user"));
    const platform = { clock, random: seededRandom(1), diagnose: () => {} };
    const opening = openTally({ service: "shop", broker }, platform).catch((e: unknown) => e);
    await clock.advance(5_000);
    expect(await opening).toMatchObject({ code: "unauthorized" });
    expect(broker.disposed).toBe(1);
    expect(clock.pending()).toBe(0);
  });

  it("resolves while the broker is away; publishes wait, and end at their deadline without a doubt", async () => {
    const clock = virtualClock();
    const broker = shut(new TallyError("unreachable", "nobody listens", { retryable: true }));
    const platform = { clock, random: seededRandom(1), diagnose: () => {} };
    const opening = openTally({ service: "shop", broker }, platform);
    await clock.advance(0);
    const tally = await opening;
    const published = tally.publish(orders, { n: 1 }, { id: "o-1", deadline: "3s" }).catch((e: unknown) => e);
    await clock.advance(3_020);
    expect(await published).toMatchObject({ code: "deadline", mayArrive: false, retryable: true });
    expect(tally.counters().reconnect).toBeGreaterThan(2);
    const closing = tally.close({ within: "1s" });
    await clock.advance(2_000);
    await closing;
    expect(clock.pending()).toBe(0);
  });
});

describe("a tally", () => {
  it("gives one receipt or error for each of publishMany, in their order", async () => {
    await using tally = await openTally({ service: "shop", broker: memory() });
    const results = await tally.publishMany(orders, [
      { id: "o-1", body: { n: 1 } },
      { id: "", body: { n: 2 } },
      { id: "o-3", body: { n: 3 } },
      { id: "o-3", body: { n: 4 } },
    ]);
    expect(results.map((r) => (TallyError.is(r) ? r.code : r.state))).toEqual([
      "confirmed",
      "bad-message",
      "confirmed",
      "conflict",
    ]);
  });

  it("shows every event to listeners and on the diagnostics channel, and counts it", async () => {
    const seen: TallyEvent[] = [];
    const listener = (event: unknown): void => void seen.push(event as TallyEvent);
    subscribe(EVENT_CHANNEL, listener);
    try {
      const heard: TallyEvent[] = [];
      await using tally = await openTally({
        service: "shop",
        broker: memory(),
        onEvent: (event) => void heard.push(event),
      });
      const off = tally.on(() => {
        throw new Error("a listener's failure is its own");
      });
      await tally.publish(orders, undefined as never).catch(() => {});
      off();
      expect(heard.map((e) => e.type)).toEqual(["memory-bound", "session-opened", "rejected"]);
      expect(seen).toEqual(heard);
      expect(tally.counters()).toEqual({ "memory-bound": 1, "session-opened": 1, rejected: 1 });
      expect(heard.every((e) => Number.isFinite(e.at) && Object.isFrozen(e))).toBe(true);
    } finally {
      unsubscribe(EVENT_CHANNEL, listener);
    }
  });

  it("a listener that rejects ends no process, and what is no function is refused", async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", note);
    try {
      let called = 0;
      const rejecting = ((): unknown => {
        called++;
        return Promise.reject(new Error("the metrics server is away"));
      }) as () => void;
      await using tally = await openTally({ service: "shop", broker: memory(), onEvent: rejecting });
      tally.on(rejecting);
      await tally.publish(orders, undefined as never).catch(() => {});
      await new Promise((resolve) => setImmediate(resolve)); // rejections are reported once the microtasks are done
      expect(called).toBeGreaterThan(1);
      expect(unhandled).toEqual([]);
      for (const wrong of [undefined, null, {}, "listener"])
        expect(() => tally.on(wrong as never)).toThrow("[bad-config] on: the listener must be a function; got ");
      expect(tally.counters().rejected).toBe(1);
    } finally {
      process.off("unhandledRejection", note);
    }
  });

  it("closes consumers first, whose handlers may still publish, then drains, then leaves; once", async () => {
    const broker = memory();
    const events = topic<{ billed: number }>("events", { groups: ["audit"] });
    const tally: Tally = await openTally({ service: "shop", broker });
    const running = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    let published: string | null = null;
    await tally
      .consumer("billing")
      .on(orders, async ({ n }) => {
        running.resolve();
        await go.promise;
        published = (await tally.publish(events, { billed: n }, { id: "e-1" })).state;
      })
      .start();
    await tally.publish(orders, { n: 1 });
    await running.promise;
    const late = tally.consumer("late").on(orders, () => {});
    const closing = tally.close();
    expect(tally.close()).toBe(closing);
    await expect(late.start()).rejects.toMatchObject({ code: "closed" });
    go.resolve();
    await closing;
    expect(published).toBe("confirmed");
    expect(broker.messages("orders", "billing")).toHaveLength(0);
    expect(broker.messages("events", "audit")).toHaveLength(1);
    expect(() => tally.consumer("late")).toThrow("[closed]");
    await expect(tally.publish(orders, { n: 2 })).rejects.toMatchObject({ code: "closed" });
  });
});
