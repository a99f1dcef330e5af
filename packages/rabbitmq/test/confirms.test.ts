import { describe, expect, it } from "vitest";
import type { Verdict } from "@tallymq/core/spi";
import { message, messages, Stage } from "./stage.ts";

describe("confirms find their own message", () => {
  it("in any order, single and multiple", async () => {
    await using stage = await Stage.open({
      onPublish({ tag }, channel) {
        if (tag !== 10) return;
        for (const single of [7, 3, 9]) channel.ack(single);
        channel.nack(4);
        channel.ack(6, { multiple: true });
        channel.ack(10, { multiple: true });
      },
    });
    const sending = await stage.sender();
    sending.post(messages(10));
    await sending.count(10);
    expect(sending.journal).toEqual([
      "m7 accepted",
      "m3 accepted",
      "m9 accepted",
      "m4 later",
      "m1 accepted",
      "m2 accepted",
      "m5 accepted",
      "m6 accepted",
      "m8 accepted",
      "m10 accepted",
    ]);
  });

  it("a nack of several is later for each of them", async () => {
    await using stage = await Stage.open({
      onPublish: ({ tag }, channel) => void (tag === 3 && channel.nack(3, { multiple: true })),
    });
    const sending = await stage.sender();
    sending.post(messages(3));
    await sending.count(3);
    expect(sending.kinds).toEqual({ m1: "later", m2: "later", m3: "later" });
    // Another queue of the exchange may have it, also one that this process knows nothing of.
    expect(sending.error("m1").mayArrive).toBe(true);
  });

  it("a nack of what went to a single queue leaves no doubt: nobody else can have it", async () => {
    await using stage = await Stage.open(
      { onPublish: ({ tag }, channel) => channel.nack(tag) },
      { topics: { orders: { queue: "orders" } } },
    );
    const sending = await stage.sender();
    sending.post(messages(1));
    await sending.count(1);
    expect(sending.kinds).toEqual({ m1: "later" });
    expect(sending.error("m1").mayArrive).toBe(false);
  });

  it("thousands, acked out of order, leave nothing behind that later ones could meet", async () => {
    await using stage = await Stage.open({
      onPublish({ tag }, channel) {
        // Pairs in reverse, as a cluster does, then the odd ones by a multiple: the driver's own window loses count here.
        if (tag % 2 === 0) channel.ack(tag);
        if (tag % 100 === 0) channel.ack(tag - 1, { multiple: true });
      },
    });
    const sending = await stage.sender();
    for (let from = 0; from < 5_000; from += 500)
      sending.post(Array.from({ length: 500 }, (_, i) => message(from + i + 1)));
    await sending.count(5_000);
    expect([...sending.verdicts.values()].every((all) => all.length === 1 && all[0]!.kind === "accepted")).toBe(true);
    expect(sending.losses).toEqual([]);
  });
});

describe("confirm for tag 0 with `multiple`, for a tag never published, twice: the channel is dropped, unconfirmed messages are in doubt", () => {
  const breaches: readonly (readonly [
    string,
    (ack: (tag: number, multiple?: boolean) => void, nack: (tag: number) => void) => void,
  ])[] = [
    ["tag 0, which means all, with multiple", (ack) => ack(0, true)],
    ["tag 0 alone", (ack) => ack(0)],
    ["a tag that was never published", (ack) => ack(4)],
    ["a multiple beyond what was published", (ack) => ack(4, true)],
    ["a tag of 2^53 and more", (ack) => ack(2 ** 60)],
    ["the same tag twice", (ack) => (ack(2), ack(2))],
    ["the first tag twice", (ack) => (ack(1), ack(1))],
    ["an ack, then a nack of the same tag", (ack, nack) => (ack(2), nack(2))],
    ["a nack, then an ack of the same tag", (ack, nack) => (nack(2), ack(2))],
    ["a single tag below a multiple", (ack) => (ack(2, true), ack(1))],
  ];
  for (const [name, script] of breaches) {
    it(`${name}: the channel is dropped, and what is open is in doubt`, async () => {
      await using stage = await Stage.open({
        onPublish({ tag }, channel) {
          if (tag === 3)
            script(
              (t, multiple = false) => channel.ack(t, { multiple }),
              (t) => channel.nack(t),
            );
        },
      });
      const sending = await stage.sender();
      sending.post(messages(3));
      await sending.count(3);
      expect(sending.losses).toHaveLength(1);
      expect(sending.losses[0]!.code).toBe("session-lost");
      expect(
        sending.journal.some((line) => line.startsWith("surfaced: the broker sent a confirm for delivery tag")),
      ).toBe(true);
      // `lost` first, then doubt for each that had no verdict, and none has two.
      const lost = sending.journal.indexOf("lost");
      expect(sending.journal.slice(lost + 1).every((line) => line.endsWith(" doubt"))).toBe(true);
      expect(sending.kinds["m3"]).toBe("doubt");
      expect(Object.values(sending.kinds).every((kinds) => !kinds.includes("+"))).toBe(true);
      await stage.server.waitFor((s) => s.methods("channel.close").length > 0, { what: "the channel's end" });
      sending.post([message(9)]);
      expect(sending.kinds["m9"]).toBe("unsent");
    });
  }
});

describe("nack then ack; return without confirm; confirm that never comes: first wins, surfaced; time-out path", () => {
  it("nacked, then acked: not stored, as the broker said first", async () => {
    await using stage = await Stage.open({
      onPublish({ tag }, channel) {
        if (tag !== 2) return;
        channel.nack(1);
        channel.ack(1);
      },
    });
    const sending = await stage.sender();
    sending.post(messages(2));
    await sending.count(2);
    expect(sending.kinds).toEqual({ m1: "later", m2: "doubt" });
    expect(sending.journal.filter((line) => line.startsWith("surfaced"))).toHaveLength(1);
  });

  it("returned, and never confirmed: no verdict from that alone, and in doubt when the session ends", async () => {
    await using stage = await Stage.open({ onPublish: (publish, channel) => channel.return(publish) });
    const sending = await stage.sender();
    sending.post(messages(1));
    await stage.server.publish(1);
    await sending.sender[Symbol.asyncDispose]();
    expect(sending.kinds).toEqual({ m1: "doubt" });
  });

  it("never confirmed: the adapter gives no verdict of its own, however long; core's time-out takes another session", async () => {
    let answer = (): void => {};
    await using stage = await Stage.open({ onPublish: ({ tag }, channel) => (answer = () => channel.ack(tag)) });
    const sending = await stage.sender();
    sending.post(messages(1));
    await stage.server.publish(1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(sending.kinds).toEqual({});
    const successor = await stage.sender();
    expect([sending.losses, successor.losses]).toEqual([[], []]);
    // The old one may still answer.
    answer();
    await sending.count(1);
    expect(sending.kinds).toEqual({ m1: "accepted" });
  });
});

describe("returns", () => {
  it("a return before its confirm is unroutable, not accepted", async () => {
    await using stage = await Stage.open({
      onPublish(publish, channel) {
        if (publish.tag === 2) channel.return(publish);
        channel.ack(publish.tag);
      },
    });
    const sending = await stage.sender();
    sending.post(messages(3));
    await sending.count(3);
    expect(sending.kinds).toEqual({ m1: "accepted", m2: "unroutable", m3: "accepted" });
    const error = sending.error("m2");
    expect([error.code, error.id, error.mayArrive]).toEqual(["unroutable", "m2", false]);
    expect(sending.losses).toEqual([]);
  });

  it("several, out of order, and covered by one multiple ack", async () => {
    const seen: Parameters<NonNullable<Parameters<typeof Stage.open>[0]>["onPublish"] & {}>[0][] = [];
    await using stage = await Stage.open({
      onPublish(publish, channel) {
        seen.push(publish);
        if (publish.tag !== 6) return;
        for (const at of [4, 1, 5]) channel.return(seen[at]!);
        channel.ack(6, { multiple: true });
      },
    });
    const sending = await stage.sender();
    sending.post(messages(6));
    await sending.count(6);
    expect(sending.kinds).toEqual({
      m1: "accepted",
      m2: "unroutable",
      m3: "accepted",
      m4: "accepted",
      m5: "unroutable",
      m6: "unroutable",
    });
  });

  it("one id on two topics: the return's exchange says which", async () => {
    await using stage = await Stage.open({
      onPublish(publish, channel) {
        if (publish.exchange !== "refunds") return;
        channel.return(publish);
        channel.ack(2, { multiple: true });
      },
    });
    const sending = await stage.sender();
    await stage.transport.admin.declare([{ name: "refunds", ordered: false, groups: [] }], AbortSignal.timeout(5_000));
    const kinds = await new Promise<readonly Verdict["kind"][]>((resolve) => {
      const got: Verdict["kind"][] = [];
      sending.sender.send(0, [message(1, { id: "same" }), message(1, { id: "same", topic: "refunds" })], (index, v) => {
        got[index] = v.kind;
        if (Object.keys(got).length === 2) resolve(got);
      });
    });
    expect(kinds).toEqual(["accepted", "unroutable"]);
  });

  it("a return of nothing that is in flight is surfaced and changes no verdict", async () => {
    await using stage = await Stage.open({
      onPublish(publish, channel) {
        channel.return({ ...publish, properties: { ...publish.properties, messageId: "never sent" } });
        channel.ack(publish.tag);
      },
    });
    const sending = await stage.sender();
    sending.post(messages(1));
    await sending.count(1);
    expect(sending.journal).toEqual([
      expect.stringContaining("surfaced: the broker returned a message"),
      "m1 accepted",
    ]);
  });
});
