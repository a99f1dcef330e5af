import { DEAD_LETTERS } from "@tallymq/core/spi";
import {
  memory,
  type MemoryBroker,
  memoryInbox,
  type MemoryOptions,
  memoryOutbox,
  startMemoryBroker,
} from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { code, message, messages, NEVER, open, ORDERS, receiver, sender, settled } from "../support/harness.ts";

function bench(options?: MemoryOptions): MemoryBroker {
  const broker = memory(options);
  broker.declare(ORDERS);
  return broker;
}

describe("the broker", () => {
  it("is one for all who open it, and knows when it is idle", async () => {
    const broker = bench();
    const [one, two] = [open(broker), open(broker)];
    const s = await sender(one);
    s.send(...messages(5));
    await settled();
    let idle = false;
    const waiting = broker.idle().then(() => (idle = true));
    const r = await receiver(two);
    await settled();
    r.ack(...r.got.slice(0, 4));
    await settled();
    expect(idle).toBe(false);
    r.ack(r.got[4]!);
    await waiting;
    expect(await code(broker.idle(AbortSignal.abort(new Error("stop"))))).toContain("stop");
  });

  it("is idle with dead letters of core's that nobody consumes", async () => {
    const broker = bench();
    const letters = { name: "orders.billing.dead-letters", ordered: false, groups: [DEAD_LETTERS] };
    broker.declare(letters);
    const s = await sender(open(broker));
    s.send(message("given-up", { topic: letters.name }));
    await settled();
    expect(broker.messages(letters.name, DEAD_LETTERS)).toHaveLength(1);
    await broker.idle();
  });

  it("refuses a declaration that contradicts what exists, and a group that does not exist", async () => {
    const broker = bench();
    const transport = open(broker);
    expect(await code(transport.admin.declare([{ ...ORDERS, ordered: true }], NEVER))).toBe("topology");
    await transport.admin.declare([{ ...ORDERS, groups: ["billing", "audit"] }], NEVER);
    expect(await code(receiver(transport, { group: "nobody" }))).toBe("topology");
    expect(await code(() => broker.messages("orders", "nobody"))).toBe("topology");
  });

  it("does not give a group what was published before the group was made", async () => {
    const broker = bench();
    const s = await sender(open(broker));
    s.send(message("early"));
    await settled();
    broker.declare({ ...ORDERS, groups: ["late"] });
    s.send(message("on-time"));
    await settled();
    expect(broker.messages("orders", "late").map((q) => q.message.id)).toEqual(["on-time"]);
    expect(broker.messages("orders", "billing").map((q) => q.message.id)).toEqual(["early", "on-time"]);
  });

  it("refuses unknown options by name", async () => {
    expect(await code(() => memory({ maxBaklog: 1 } as never))).toBe("bad-config");
    expect(await code(() => memory({ deliveryLimit: 0 }))).toBe("bad-config");
  });

  it("opens nothing once its transport is closed, and closes what was open", async () => {
    const transport = open(bench());
    const s = await sender(transport);
    s.send(message("a"));
    await transport[Symbol.asyncDispose]();
    expect(s.seen).toEqual(["a doubt"]);
    expect(await code(sender(transport))).toBe("closed");
  });
});

describe("wrong options are refused, with what was expected", () => {
  it.each<[string, () => unknown, string]>([
    ["memory", () => memory(5 as never), "memory must be a plain object of options; got 5"],
    ["memoryInbox", () => memoryInbox({ maxRow: 1 } as never), 'has no option "maxRow"; did you mean "maxRows"?'],
    ["memoryInbox", () => memoryInbox({ keepFor: "7d" } as never), "keepFor must be a number from 0; got a string"],
    [
      "memoryOutbox",
      () => memoryOutbox({ max: 1 } as never),
      'memoryOutbox has no option "max"; did you mean "maxRows"?',
    ],
    ["memoryOutbox", () => memoryOutbox({ maxRows: Number.NaN }), "maxRows must be a number from 0; got a number"],
    [
      "startMemoryBroker",
      () => startMemoryBroker({ at: "unix:/x", dataDir: "/x", deliveryLimt: 5 } as never),
      'startMemoryBroker has no option "deliveryLimt"; did you mean "deliveryLimit"?',
    ],
    ["startMemoryBroker", () => startMemoryBroker(undefined as never), "startMemoryBroker: at must be"],
    [
      "startMemoryBroker",
      () => startMemoryBroker({ at: "unix:/x" } as never),
      "dataDir must be the path of a directory",
    ],
  ])("%s", async (_what, call, says) => {
    await expect((async () => call())()).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringContaining(says) as string,
    });
  });

  it("a point of faults that is none", () => {
    for (const call of ["on", "every"] as const)
      expect(() => memory().faults[call]("sendd" as "send", 1)).toThrow(
        "there is no point sendd; there are send, deliver, settle, open, openSender, openReceiver, declare",
      );
  });
});
