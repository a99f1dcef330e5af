import type { DatabaseSync } from "node:sqlite";
import type { Kind } from "./file/open.ts";
import { keepIdentities } from "./inbox/identity.ts";
import { createBucket, createInbox, repairInbox, savedInbox } from "./inbox/schema.ts";
import { createHalves } from "./outbox/half-schema.ts";
import { createGiven, createOutbox, createPacks, repairOutbox, SAVED_OUTBOX } from "./outbox/schema.ts";
import type { OpenArgs } from "./protocol.ts";

const OUTBOX: Kind = {
  create: createOutbox,
  upgrade: upgradeOutbox,
  saved: () => SAVED_OUTBOX,
  repaired: repairOutbox,
};

/** An inbox holds the outbox of its transactions too. */
const INBOX: Kind = {
  create(sql) {
    createInbox(sql);
    createOutbox(sql);
  },
  upgrade(sql) {
    upgradeOutbox(sql);
    keepIdentities(sql);
  },
  saved: (damaged, into) => [...savedInbox(damaged, (bucket) => createBucket(into, bucket)), ...SAVED_OUTBOX],
  repaired(sql) {
    repairInbox(sql);
    repairOutbox(sql);
  },
};

function upgradeOutbox(sql: DatabaseSync): void {
  createHalves(sql);
  createGiven(sql);
  createPacks(sql);
}

export function kindOf(kind: OpenArgs["kind"]): Kind {
  return kind === "outbox" ? OUTBOX : INBOX;
}
