import { memory, seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { openTally, type TallyEvent, topic } from "../src/index.ts";
import type { Broker } from "../src/spi.ts";
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
