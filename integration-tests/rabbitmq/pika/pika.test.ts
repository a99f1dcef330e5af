import { memoryInbox } from "@tallymq/testkit";
import { openTally, type TallyEvent, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type SharedRabbit, sharedRabbit } from "../../brokers/vitest/shared.ts";
import { ensurePika, publishByPika, readByPika } from "./pika.ts";

interface Order {
  readonly n: number;
  readonly text: string;
  readonly cents: number;
}

let rabbit: SharedRabbit;
beforeAll(async () => {
  await ensurePika();
  rabbit = await sharedRabbit();
});
afterAll(() => rabbit?.stop());

const BODY: Order = { n: 7, text: "grün ✓", cents: 1999 };

describe("Python's pika", () => {
  it("what it writes is consumed: body, properties, headers of each type; twice under one id is one effect, without an id it runs", async () => {
    const orders = topic<Order>("from-python", { groups: ["billing"] });
    const events: TallyEvent[] = [];
    await using tally = await openTally({
      service: "shop",
      broker: rabbitmq({ urls: [rabbit.url] }),
      inbox: memoryInbox(),
      topics: [orders],
      onEvent: (event) => void events.push(event),
    });
    const seen: { readonly id: string | null; readonly body: Order; readonly context: Record<string, unknown> }[] = [];
    await using _billing = await tally
      .consumer("billing")
      .on(orders, (body, { id, correlationId, producer, type, time, headers, key, attempt }) => {
        seen.push({
          id,
          body,
          context: { correlationId, producer, type, time, key, attempt, headers: { ...headers } },
        });
      })
      .start();
    await publishByPika(rabbit.url, "from-python");
    await expect.poll(() => seen.length + events.filter(({ type }) => type === "duplicate").length).toBe(5);
    expect(seen.map(({ id }) => id)).toEqual(expect.arrayContaining(["py-1", "py-2", null, "py-3"]));
    expect(seen).toHaveLength(4);
    for (const { body } of seen) expect(body).toEqual(BODY);
    expect(seen.find(({ id }) => id === "py-1")!.context).toEqual({
      correlationId: "correlation-ß",
      producer: "till",
      type: "order.created",
      time: 1_700_000_000_000,
      key: null,
      attempt: 1,
      headers: {
        tenant: "acme ✓",
        count: "7",
        negative: "-7",
        big: "1099511627776",
        yes: "true",
        none: "null",
        price: expect.stringContaining("1999") as string,
        at: "1700000000",
        list: '[1,"two",[3]]',
        deep: '{"a":{"b":"c"}}',
        bytes: "raw",
      },
    });
    expect(seen.find(({ id }) => id === null)!.context).toMatchObject({
      producer: null,
      correlationId: null,
      headers: {},
    });
    expect(events.filter(({ type }) => type === "unguarded")).toHaveLength(1);
    expect(events.filter(({ type }) => type === "surfaced")).toEqual([]);
  });

  for (const mode of ["confirm", "tx"] as const)
    it(`reads what Tally writes (mode ${mode}): body, content type and encoding, headers, ids, persistent`, async () => {
      const name = `to-python-${mode}`;
      const orders = topic<Order>(name, { groups: ["python"], key: (o) => `customer ${o.n}`, type: "order.created" });
      const packed = topic<Order>(name, { groups: ["python"], compress: "gzip" });
      const large = { ...BODY, text: "grün ✓ ".repeat(500) };
      {
        await using tally = await openTally({ service: "shop", broker: rabbitmq({ urls: [rabbit.url], mode }) });
        await tally.publish(orders, BODY, {
          id: "o-1",
          correlationId: "correlation-ß",
          headers: { tenant: "acme ✓", traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
        });
        await tally.publish(packed, large, { id: "o-2" });
      }
      const [first, second] = await readByPika(rabbit.url, `${name}.python`, 2);
      expect(JSON.parse(Buffer.from(first!.bytes, "base64").toString("utf8"))).toEqual(BODY);
      expect(first).toMatchObject({
        content_type: "application/json",
        content_encoding: null,
        delivery_mode: 2,
        message_id: "o-1",
        correlation_id: "correlation-ß",
        app_id: "shop",
        type: "order.created",
        headers: {
          tenant: "acme ✓",
          traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
          "tally-key": "customer 7",
          "tally-seq": expect.stringMatching(/^[0-9a-f]{32}\/1$/) as string,
        },
      });
      expect(Math.abs(first!.timestamp! - Date.now() / 1000)).toBeLessThan(120);
      expect(second).toMatchObject({ message_id: "o-2", content_encoding: "gzip", delivery_mode: 2 });
      expect(JSON.parse(Buffer.from(second!.bytes, "base64").toString("utf8"))).toEqual(large);
    });
});
