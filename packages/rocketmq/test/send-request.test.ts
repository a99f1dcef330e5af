import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { OutMessage } from "../src/driver/driver.ts";
import { definition, service } from "../src/driver/protocol.ts";
import { sendRequest } from "../src/driver/send-request.ts";

const WALL = Date.UTC(2026, 10, 27, 12, 0, 0, 123);
const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 200 });
const message: fc.Arbitrary<OutMessage> = fc.record({
  topic: text,
  messageId: text,
  keys: fc.array(text, { maxLength: 2 }),
  properties: fc.array(fc.tuple(text, text), { maxLength: 12 }).map((all) => new Map(all)),
  body: fc.uint8Array({ maxLength: 20_000 }),
  messageGroup: fc.option(text),
  bornAt: fc.integer({ min: 1, max: 2 ** 43 }),
  half: fc.boolean(),
  deliverAt: fc.option(fc.integer({ min: 1, max: 2 ** 43 })),
});

/** As the package's own classes read it. */
function read(bytes: Uint8Array): InstanceType<typeof definition.Message>[] {
  return service.SendMessageRequest.deserializeBinary(bytes).getMessagesList();
}

describe("a request to send", () => {
  it("is read by the protocol's own classes as what was given, whatever that is", () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 5 }), (given) => {
        const found = read(sendRequest(given));
        expect(found).toHaveLength(given.length);
        for (const [at, m] of given.entries()) {
          const system = found[at]!.getSystemProperties()!;
          expect(found[at]!.getTopic()!.toObject()).toEqual({ resourceNamespace: "", name: m.topic });
          expect(new Map(found[at]!.getUserPropertiesMap().entries())).toEqual(m.properties);
          expect(Buffer.compare(found[at]!.getBody_asU8(), m.body)).toBe(0);
          expect(system.getKeysList()).toEqual(m.keys);
          expect(system.getMessageId()).toBe(m.messageId);
          expect(system.getBodyEncoding()).toBe(definition.Encoding.IDENTITY);
          expect(system.getMessageGroup()).toBe(m.messageGroup ?? "");
          expect(system.getBornTimestamp()!.toDate().getTime()).toBe(m.bornAt);
          expect(system.getDeliveryTimestamp()?.toDate().getTime() ?? null).toBe(m.deliverAt);
        }
      }),
    );
  });

  it.each<[string, Partial<OutMessage>, number]>([
    ["a plain one", {}, definition.MessageType.NORMAL],
    ["one of an ordered topic", { messageGroup: "ada" }, definition.MessageType.FIFO],
    ["a delayed one", { deliverAt: WALL }, definition.MessageType.DELAY],
    ["a half one", { half: true }, definition.MessageType.TRANSACTION],
  ])("says of %s what it is", (_, more, type) => {
    const given: OutMessage = {
      topic: "orders",
      messageId: "01",
      keys: [],
      properties: new Map(),
      body: Buffer.from("{}"),
      messageGroup: null,
      bornAt: WALL,
      half: false,
      deliverAt: null,
      ...more,
    };
    expect(
      read(sendRequest([given]))[0]!
        .getSystemProperties()!
        .getMessageType(),
    ).toBe(type);
  });

  it("grows with many large ones", () => {
    const body = new Uint8Array(300_000).fill(7);
    const properties = new Map(Array.from({ length: 40 }, (_, n) => [`name-${n}`, "ö".repeat(150)]));
    const one: OutMessage = {
      topic: "orders",
      messageId: "01",
      keys: ["a", "b"],
      properties,
      body,
      messageGroup: null,
      bornAt: WALL,
      half: false,
      deliverAt: null,
    };
    const found = read(sendRequest([one, one, one]));
    expect(found).toHaveLength(3);
    for (const m of found) {
      expect(m.getBody_asU8()).toHaveLength(300_000);
      expect(new Map(m.getUserPropertiesMap().entries())).toEqual(properties);
    }
  });
});
