import { memory, memoryInbox } from "@tallymq/testkit";
import { describe, expect, expectTypeOf, test } from "vitest";
import { type Context, deadLetter, openTally, type Tally, TallyError, topic } from "../../src/index.ts";

const orders = topic<{ n: number }>("orders", { groups: ["billing"] });

describe("effect", () => {
  test("without an inbox: `marked` and `tx` are refused by name, and `tx` does not compile", async () => {
    await using tally = await openTally({ service: "shop", broker: memory() });
    for (const effect of ["marked", "tx"] as const) {
      // @ts-expect-error -- there is no transaction to give
      const refused = (): unknown => tally.consumer("billing", { effect: effect as "tx" });
      expect(refused).toThrow(TallyError);
      expect(refused).toThrow(/bad-config.*needs an inbox/);
    }
    expect(() => tally.consumer("billing", { effect: "none" })).not.toThrow();
    expect(() => tally.consumer("billing", { effect: "once" as "none" })).toThrow(/effect must be one of/);
  });

  test("only a context of a `tx` consumer has `tx`, of the inbox's own type", async () => {
    const inbox = memoryInbox();
    await using tally = await openTally({ service: "shop", broker: memory(), inbox });
    tally.consumer("billing", { effect: "tx" }).on(orders, (_body, { tx }) => void expectTypeOf(tx.set).toBeFunction());
    // @ts-expect-error -- a marked consumer has no transaction
    tally.consumer("billing").on(orders, (_body, { tx }) => void tx);
    tally
      .consumer("billing", { lanes: 4 })
      .on(orders, (_body, context) => void expectTypeOf(context).toEqualTypeOf<Context>());
    // Whoever does not care for the inbox takes any tally.
    const any = (given: Tally): string => given.service;
    expect(any(tally)).toBe("shop");
  });

  test("an inbox that is none is refused", async () => {
    const opening = openTally({ service: "shop", broker: memory(), inbox: {} as never });
    await expect(opening).rejects.toMatchObject({ code: "bad-config" });
  });

  test("an inbox that cannot be opened is what openTally rejects with", async () => {
    const inbox = memoryInbox();
    inbox.broken = new TallyError("store", "the file is damaged");
    await expect(openTally({ service: "shop", broker: memory(), inbox })).rejects.toMatchObject({ code: "store" });
  });
});

describe("end to end, on the embedded broker", () => {
  test("publishes repeated after a restart and deliveries repeated by the broker: one effect each", async () => {
    const broker = memory();
    const inbox = memoryInbox();
    const effects: number[] = [];
    for (let restart = 0; restart < 3; restart++) {
      await using tally = await openTally({ service: "shop", broker, inbox });
      await using _billing = await tally
        .consumer("billing", { effect: "tx", lanes: 8 })
        .on(orders, async ({ n }, { tx, attempt }) => {
          if (n % 7 === 0 && attempt === 1) throw new Error("not now");
          tx.set(`bill ${n}`, ((tx.get(`bill ${n}`) as number | undefined) ?? 0) + 1);
        })
        .start();
      await Promise.all(Array.from({ length: 50 }, (_, n) => tally.publish(orders, { n }, { id: `order-${n}` })));
      await broker.idle();
      effects.push(inbox.rows.size);
      if (restart > 0) expect(tally.counters().duplicate).toBe(50);
    }
    expect(effects).toEqual([50, 50, 50]);
    expect([...inbox.rows.values()].every((times) => times === 1)).toBe(true);
  });

  test("publish(…, { tx }): each effect has its message, once, whatever fails and is delivered again", async () => {
    const events = topic<{ billed: number }>("events", { groups: ["mail"] });
    const broker = memory();
    const inbox = memoryInbox();
    const mails = new Map<number, number>();
    for (let restart = 0; restart < 2; restart++) {
      await using tally = await openTally({ service: "shop", broker, inbox });
      await using _mail = await tally
        .consumer("mail")
        .on(events, ({ billed }) => void mails.set(billed, (mails.get(billed) ?? 0) + 1))
        .start();
      await using _billing = await tally
        .consumer("billing", { effect: "tx", lanes: 8, retryMin: 1, retryMax: 2 })
        .on(orders, async ({ n }, { tx, attempt }) => {
          tx.set(`bill ${n}`, n);
          const receipt = await tally.publish(events, { billed: n }, { id: `billed-${n}`, tx });
          expect(receipt).toMatchObject({ id: `billed-${n}`, state: "stored" });
          if (n % 7 === 0 && attempt === 1) throw new Error("not now");
        })
        .start();
      await Promise.all(Array.from({ length: 30 }, (_, n) => tally.publish(orders, { n }, { id: `order-${n}` })));
      await expect.poll(() => [inbox.outbox.rows.length, mails.size]).toEqual([0, 30]);
      await broker.idle();
      if (restart === 0) expect(tally.counters()).toMatchObject({ "tx-published": 30, "tx-undone": 5 });
    }
    expect([...mails.values()].every((times) => times === 1)).toBe(true);
  });

  test("only the inbox's own tx is accepted, and none without an inbox", async () => {
    const events = topic<number>("events");
    await using without = await openTally({ service: "shop", broker: memory() });
    // @ts-expect-error -- there is no transaction to give
    await expect(without.publish(events, 1, { tx: {} })).rejects.toMatchObject({ code: "bad-config" });
    await using tally = await openTally({ service: "shop", broker: memory(), inbox: memoryInbox() });
    // @ts-expect-error -- not the inbox's
    await expect(tally.publish(events, 1, { tx: 7 })).rejects.toMatchObject({ code: "bad-config" });
  });

  test("a dead letter is in its own queue, and can be consumed", async () => {
    const broker = memory();
    await using tally = await openTally({ service: "billing", broker, inbox: memoryInbox() });
    await using _billing = await tally
      .consumer("billing", { onError: () => deadLetter("declined") })
      .on(orders, () => Promise.reject(new Error("no")))
      .start();
    await tally.publish(orders, { n: 7 }, { id: "order-7", headers: { trace: "t" } });
    await expect.poll(() => tally.counters()["dead-lettered"]).toBe(1);
    const letters = broker.messages("orders.billing.dead-letters", "dead-letters");
    expect(letters).toHaveLength(1);

    const seen = Promise.withResolvers<readonly unknown[]>();
    await using _clerk = await tally
      .consumer("dead-letters")
      .on(topic<{ n: number }>("orders.billing.dead-letters"), (body, { id, headers }) =>
        seen.resolve([body, id, headers["dead-reason"], headers["trace"]]),
      )
      .start();
    expect(await seen.promise).toEqual([{ n: 7 }, "order-7", "declined", "t"]);
    await broker.idle();
  });
});
