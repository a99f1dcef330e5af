import { describe, it } from "vitest";
import { conformStore, storeCases } from "../../src/conformance/index.ts";
import { type MemoryInbox, memoryInbox } from "../../src/index.ts";

const inboxes = new Map<string, MemoryInbox>();
let places = 0;

// What tests of users run on must not behave otherwise than a store on a disk.
conformStore(
  { describe, it },
  {
    name: "the stores in memory",
    limitMs: 5_000,
    place: () => `place ${++places}`,
    outbox: null,
    bound: null,
    inbox(place, host) {
      const inbox = inboxes.get(place) ?? memoryInbox();
      inboxes.set(place, inbox);
      return inbox.openInbox(host);
    },
    transactions: null,
  },
  // It forgets nothing before it is gone.
  storeCases.filter(({ name }) => name !== "a mark is kept as long as the store says, and not for ever"),
);
