import { type Bounds, flag, resolveOptions, TallyError } from "@tallymq/core/spi";
import type { MemoryInboxOptions } from "./inbox.ts";
import type { MemoryOutboxOptions } from "./outbox.ts";

const limit: Bounds<Required<MemoryOutboxOptions>>["maxRows"] = {
  default: Number.POSITIVE_INFINITY,
  read(what, value) {
    if (typeof value === "number" && value >= 0) return value;
    throw new TallyError("bad-config", `${what} must be a number from 0; got a ${typeof value}`);
  },
};
const OUTBOX: Bounds<Required<MemoryOutboxOptions>> = { maxRows: limit };
const INBOX: Bounds<Required<MemoryInboxOptions>> = {
  ...OUTBOX,
  transactions: flag(true),
  maxParked: limit,
  keepFor: limit,
};

/** @throws TallyError `bad-config` */
export function outboxOptions(given: MemoryOutboxOptions | undefined): Required<MemoryOutboxOptions> {
  return resolveOptions("memoryOutbox", given, OUTBOX);
}

/** @throws TallyError `bad-config` */
export function inboxOptions(given: MemoryInboxOptions | undefined): Required<MemoryInboxOptions> {
  return resolveOptions("memoryInbox", given, INBOX);
}
