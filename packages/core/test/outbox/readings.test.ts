import { memoryOutbox } from "@tallymq/testkit";
import { expect, it } from "vitest";
import { accepted } from "../support/scripted-transport.ts";
import { heal, open, ordered, outage } from "../support/spilling.ts";

it("a row that a reading of the fence has counted out already is not counted out again when its end is heard of", async () => {
  const outbox = memoryOutbox();
  const openOutbox = outbox.openOutbox.bind(outbox);
  let heard: (() => void) | null = null;
  const late: typeof outbox = Object.create(outbox, {
    openOutbox: {
      value: async (host: Parameters<typeof openOutbox>[0]) => {
        const store = await openOutbox(host);
        return {
          ...store,
          async lease(...given: Parameters<typeof store.lease>) {
            const lease = await store.lease(...given);
            return {
              ...lease,
              // Deleted at once, and told of later: behind the answer to a question that was asked after it.
              async end(rows: Parameters<typeof lease.end>[0]) {
                await lease.end(rows);
                await new Promise<void>((resolve) => (heard = resolve));
              },
            };
          },
        };
      },
    },
  }) as typeof outbox;
  const s = await open({}, late);
  await s.settle();
  await outage(s);
  for (const n of [1, 2]) void s.r.publisher.publish(ordered, { key: "a", n }, { id: `a${n}` });
  await s.settle();
  await heal(s);
  const ids = (): string[] => s.r.copies.map(({ message }) => message.id);
  expect(ids()).toEqual(["a1"]);
  s.r.copies[0]?.verdict(accepted);
  await s.settle();
  s.r.publisher.rowsChanged();
  await s.settle();
  (heard as (() => void) | null)?.();
  await s.settle();
  // a2 is on its way from the store: what is published now must not pass it.
  void s.r.publisher.publish(ordered, { key: "a", n: 3 }, { id: "a3" });
  await s.settle();
  expect(ids()).toEqual(["a1", "a2"]);
});
