import { type MemoryInbox, memoryInbox, memoryOutbox, type MemoryOutbox, type MemoryTx } from "@tallymq/testkit";
import { conformStore, type EffectRig, type StoreRig } from "@tallymq/testkit/conformance";
import { describe, expect, it } from "vitest";

const outboxes = new Map<string, MemoryOutbox>();
const inboxes = new Map<string, MemoryInbox>();
let places = 0;
let lines = 0;

/** Everything at one place is one store, as processes share a file. */
function at<T>(stores: Map<string, T>, place: string, make: () => T): T {
  const store = stores.get(place) ?? make();
  stores.set(place, store);
  return store;
}

const rig: StoreRig = {
  name: "memory",
  limitMs: 10_000,
  place: () => `${++places}`,
  outbox: (place, host) => at(outboxes, place, memoryOutbox).openOutbox(host),
  bound: (place, host) => at(outboxes, place, () => memoryOutbox({ maxRows: 100 })).openOutbox(host),
  halves: true,
  inbox: (place, host) => at(inboxes, place, () => memoryInbox({ keepFor: 7 * 86_400_000 })).openInbox(host),
  transactions: {
    prepare: async () => {},
    write: async (tx, line) => tx.set(`${++lines}`, line),
    lines: async (place) => [...(inboxes.get(place)?.rows.values() ?? [])].map(String).sort(),
  } satisfies EffectRig<MemoryTx> as EffectRig<never>,
};

const notApplicable = conformStore({ describe, it }, rig);

it("every case says something about the stores in memory", () => {
  expect(notApplicable).toEqual([]);
});
