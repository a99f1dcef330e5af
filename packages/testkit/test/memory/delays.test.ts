import { LONGEST_TIMER } from "@tallymq/core/spi";
import { memory, type VirtualClock, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { message, NEVER, open, ORDERS, receiver, sender, settled, type TestReceiver } from "../support/harness.ts";

const HOUR = 3_600_000;

interface Bench {
  readonly clock: VirtualClock;
  readonly billing: TestReceiver;
  readonly audit: TestReceiver;
  send(...batch: Parameters<typeof message>[]): Promise<void>;
  pass(ms: number): Promise<void>;
}

async function bench(): Promise<Bench> {
  const clock = virtualClock();
  const broker = memory({ clock });
  broker.declare({ ...ORDERS, groups: ["billing", "audit"] });
  const transport = open(broker, clock);
  const s = await sender(transport);
  return {
    clock,
    billing: await receiver(transport),
    audit: await receiver(transport, { group: "audit" }),
    async send(...batch) {
      s.send(...batch.map((given) => message(...given)));
      await settled();
    },
    async pass(ms) {
      await clock.advance(ms);
      await settled();
    },
  };
}

describe("delayed copies, in virtual time", () => {
  it("a copy of one hour comes after exactly one hour, to its group alone", async () => {
    const b = await bench();
    await b.send(["late", { delayMs: HOUR, group: "billing" }]);
    await b.pass(HOUR - 1);
    expect(b.billing.ids()).toEqual([]);
    await b.pass(1);
    expect(b.billing.ids()).toEqual(["late"]);
    expect(b.audit.ids()).toEqual([]);
  });

  it("one second published after one hour comes first, and what is not delayed before both", async () => {
    const b = await bench();
    await b.send(["hour", { delayMs: HOUR }], ["second", { delayMs: 1_000 }], ["now"]);
    expect(b.audit.ids()).toEqual(["now"]);
    await b.pass(1_000);
    expect(b.audit.ids()).toEqual(["now", "second"]);
    await b.pass(HOUR);
    expect(b.audit.ids()).toEqual(["now", "second", "hour"]);
    expect(b.billing.ids()).toEqual(b.audit.ids());
  });

  it("the longest delay of the trait is kept as well", async () => {
    const b = await bench();
    await b.send(["longest", { delayMs: LONGEST_TIMER }]);
    await b.pass(LONGEST_TIMER - 1);
    expect(b.billing.ids()).toEqual([]);
    await b.pass(1);
    expect(b.billing.ids()).toEqual(["longest"]);
  });

  it("a delayed copy counts in the backlog, and shows as delayed", async () => {
    const clock = virtualClock();
    const broker = memory({ clock });
    broker.declare(ORDERS);
    const transport = open(broker, clock);
    (await sender(transport)).send(message("late", { delayMs: HOUR, group: "billing" }));
    await settled();
    expect(broker.messages("orders", "billing").map(({ state }) => state)).toEqual(["delayed"]);
    expect(await transport.admin.backlog("orders", "billing", NEVER)).toBe(1);
  });
});
