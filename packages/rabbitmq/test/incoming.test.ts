import { describe, expect, it } from "vitest";
import { Stage } from "./stage.ts";

describe("what comes in is not believed", () => {
  async function received(properties: object, body = "{}") {
    await using stage = await Stage.open({
      onConsume: ({ tag }, channel) =>
        void channel.deliver({ consumerTag: tag, properties: properties as never, body }),
    });
    const receiving = await stage.receiver();
    return (await receiving.first(1))[0]!.message;
  }

  it("a foreign message has null for what its sender did not say", async () => {
    expect(await received({})).toMatchObject({
      id: null,
      producer: null,
      run: null,
      seq: null,
      topic: "orders",
      key: null,
      type: null,
      contentType: null,
      contentEncoding: null,
      time: null,
      attempt: 1,
      correlationId: null,
      causationId: null,
    });
  });

  it("headers that are not strings are rendered", async () => {
    const message = await received({
      headers: { n: 5, d: 1.5, t: true, nothing: null, list: ["a", 1], table: { x: "y" } },
    });
    expect({ ...message.headers }).toEqual({
      n: "5",
      d: "1.5",
      t: "true",
      nothing: "null",
      list: '["a",1]',
      table: '{"x":"y"}',
    });
  });

  it("our own headers, spoofed, are read by core's rules and shown to no handler", async () => {
    const message = await received({
      headers: {
        "tally-seq": "run/-4",
        "tally-attempt": "1e9",
        "tally-key": 5,
        "tally-causation-id": { a: "b" },
        "tally-other": "x",
      },
    });
    expect(message).toMatchObject({ run: null, seq: null, attempt: 1, key: null, causationId: null });
    expect({ ...message.headers }).toEqual({});
    expect(await received({ headers: { "tally-seq": "r/12", "tally-attempt": 7 } })).toMatchObject({
      run: "r",
      seq: 12,
      attempt: 7,
    });
  });
});
