import { resolve } from "node:path";
import { type InboxSpec, type OutboxSpec, type StoreHost, TallyError } from "@tallymq/core/spi";
import { Client } from "./client.ts";
import { SqliteInbox } from "./inbox/store.ts";
import { resolveSqlite, type Resolved, type SqliteOptions } from "./options.ts";
import { SqliteOutbox } from "./outbox/store.ts";
import type { SqliteTx } from "./tx/handle.ts";
import type { OpenArgs } from "./worker/protocol.ts";

export type { SqliteOptions } from "./options.ts";
export type { SqliteParams, SqliteRow, SqliteTx, SqliteValue } from "./tx/handle.ts";

/** What {@link sqlite} gives: for `outbox:` or for `inbox:`; a file is one of them. */
export interface SqliteStore extends OutboxSpec, InboxSpec<SqliteTx> {}

/**
 * A store in an SQLite file on this machine's disk, over `node:sqlite` in a thread of its own. Its directory must exist;
 * the file is made if it is not there, for its owner alone.
 *
 * As `outbox:` a file of its own. As `inbox:` the file that holds your effects, where `effect: "tx"` is wanted: Tally's
 * tables, all named `tally_…`, live beside yours, and the file gets a write-ahead log.
 * @throws TallyError `bad-config`
 */
export function sqlite(path: string, options?: SqliteOptions): SqliteStore {
  if (typeof path !== "string" || path === "" || path.includes("\0"))
    throw new TallyError("bad-config", "sqlite: the path must be that of a file");
  if (path.startsWith(":") || /^file:/i.test(path))
    throw new TallyError("bad-config", "sqlite: a store is a file on a disk; give its path, not a URI or :memory:");
  const file = resolve(path);
  const resolved = resolveSqlite(options);
  return Object.freeze({
    async openOutbox(host) {
      const { client } = await Client.open(host, argsOf("outbox", file, resolved, host));
      return new SqliteOutbox(client, true);
    },
    async openInbox(host) {
      const { client, id } = await Client.open(host, argsOf("inbox", file, resolved, host));
      return new SqliteInbox(client, id, resolved.keepFor, resolved.txTimeout);
    },
  } satisfies SqliteStore);
}

function argsOf(
  kind: OpenArgs["kind"],
  path: string,
  { maxBytes, processes, maxParked, keepFor }: Resolved,
  host: StoreHost,
): Omit<OpenArgs, "now"> {
  const id = Array.from(host.random.bytes(16), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { kind, path, maxBytes, processes, maxParked, keepFor, id };
}
