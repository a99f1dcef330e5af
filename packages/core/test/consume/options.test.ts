import { describe, expect, test } from "vitest";
import { topic } from "../../src/topic.ts";
import { bench } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");

describe("a consumer that is set up wrongly", () => {
  test.each([
    ["an unknown option", { lane: 3 }, /lanes/],
    ["no lanes", { lanes: 0 }, /lanes/],
    ["credit below lanes", { lanes: 10, credit: 9 }, /credit/],
    ["credit beyond 16 bits", { credit: 65_536 }, /credit/],
    ["NaN attempts", { attempts: Number.NaN }, /attempts/],
    ["a time without unit", { processingDeadline: "5 parsecs" }, /processingDeadline/],
    ["a back-off upside down", { retryMin: "10s", retryMax: "1s" }, /retryMin/],
    ["onError that is none", { onError: 5 }, /onError/],
    ["id that is none", { id: "x" }, /id/],
  ])("%s is refused at the call", (_what, options, names) => {
    const build = (): unknown => bench().consumer(options as never);
    expect(build).toThrow(names);
    expect(build).toThrow(expect.objectContaining({ code: "bad-config" }));
  });

  test("a group without a name, two handlers for a topic, no handler at all, on() after start(), start() twice", async () => {
    const code = (c: string): unknown => expect.objectContaining({ code: c });
    expect(() => bench().consumer({}, "")).toThrow(code("bad-config"));
    expect(() =>
      bench()
        .consumer()
        .on(orders, () => {})
        .on(orders, () => {}),
    ).toThrow(code("bad-config"));
    expect(() =>
      bench()
        .consumer()
        .on(orders, "no" as never),
    ).toThrow(code("bad-config"));
    expect(() =>
      bench()
        .consumer()
        .on({} as never, () => {}),
    ).toThrow(code("bad-config"));
    await expect(bench().consumer().start()).rejects.toEqual(code("bad-config"));
    const builder = bench()
      .consumer()
      .on(orders, () => {});
    await builder.start();
    expect(() => builder.on(topic("bills"), () => {})).toThrow(code("bad-config"));
    await expect(builder.start()).rejects.toEqual(code("bad-config"));
  });

  test("credit is four times lanes, at least 100, unless given", async () => {
    const credit = async (options: object): Promise<number> => {
      const b = bench();
      await b
        .consumer(options)
        .on(orders, () => {})
        .start();
      return b.receiver.subscription.credit;
    };
    expect([await credit({}), await credit({ lanes: 64 }), await credit({ lanes: 4, credit: 5 })]).toEqual([
      100, 256, 5,
    ]);
  });
});
