import { TallyError } from "../error.ts";
import type { Events } from "../events.ts";
import type { InboxStore } from "../stores.ts";
import { KeysOfInbox, type ParkedKeys } from "./keys.ts";
import { type ParkedRows, type RowStore, RowsOfStores } from "./rows.ts";
import type { Runners } from "./runners.ts";

/** What waits for a person: nothing but a replay or a purge moves it. */
export interface Parked {
  /** Ordered keys whose head failed at a consumer. */
  readonly keys: ParkedKeys;
  /** Rows that the relay could not get rid of. */
  readonly rows: ParkedRows;
}

/** @param assertOpen Throws `closed` when the tally is. */
export function createParked(
  inbox: InboxStore<unknown> | null,
  rows: readonly RowStore[],
  runners: Runners,
  events: Events,
  assertOpen: (call: string) => void,
): Parked {
  const keys = inbox === null ? null : new KeysOfInbox(inbox, events, runners);
  const some = rows.length === 0 ? null : new RowsOfStores(rows, events);
  /** Each call is answered, or rejected: it never throws. */
  async function on<P, T>(port: P | null, what: string, lack: string, call: (port: P) => Promise<T>): Promise<T> {
    assertOpen(`parked.${what}`);
    if (port === null) throw new TallyError("unsupported", `parked.${what}: this tally has no ${lack}`);
    return await call(port);
  }
  return {
    keys: {
      list: (of) => on(keys, "keys.list()", "inbox", (port) => port.list(of)),
      messages: (of) => on(keys, "keys.messages()", "inbox", (port) => port.messages(of)),
      replay: (of) => on(keys, "keys.replay()", "inbox", (port) => port.replay(of)),
      purge: (of) => on(keys, "keys.purge()", "inbox", (port) => port.purge(of)),
    },
    rows: {
      list: (of) => on(some, "rows.list()", "outbox", (port) => port.list(of)),
      replay: (row) => on(some, "rows.replay()", "outbox", (port) => port.replay(row)),
      purge: (row) => on(some, "rows.purge()", "outbox", (port) => port.purge(row)),
    },
  };
}
