import type { InboxStore, NewRow, OutboxStore, StoreHost } from "@tallymq/core/spi";
import { type SqliteOptions, sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import { realClock, realRandom } from "@tallymq/testkit";

/** Real time, and what is surfaced in a list. */
export function recordingHost(surfaced: string[] = []): StoreHost & { readonly heard: string[] } {
  return {
    heard: surfaced,
    surfaced: (what) => surfaced.push(what),
    clock: realClock,
    random: realRandom,
  };
}

export function openOutbox(
  path: string,
  options: SqliteOptions = {},
  host: StoreHost = recordingHost(),
): Promise<OutboxStore> {
  return sqlite(path, options).openOutbox(host);
}

export function openInbox(
  path: string,
  options: SqliteOptions = {},
  host: StoreHost = recordingHost(),
): Promise<InboxStore<SqliteTx>> {
  return sqlite(path, options).openInbox(host);
}

export function row(id: string, body: Uint8Array = new Uint8Array(256).fill(7)): NewRow {
  const message = {
    id,
    producer: "shop",
    run: "0".repeat(32),
    seq: 1,
    topic: "orders",
    key: null,
    ordered: false,
    type: null,
    contentType: "application/json",
    contentEncoding: null,
    time: 1,
    attempt: 1,
    correlationId: null,
    causationId: null,
    headers: {},
    body,
    native: null,
    group: null,
    delayMs: 0,
  };
  return { destination: "broker", slot: null, doubtful: false, lane: null, dedupeForMs: null, message };
}

/** Opens, takes every row's id, closes. */
export async function idsIn(path: string, host: StoreHost = recordingHost()): Promise<readonly string[]> {
  await using outbox = await openOutbox(path, {}, host);
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(10_000));
  const ids: string[] = [];
  for (let rows = await lease.take(10_000); rows.length > 0; rows = await lease.take(10_000))
    ids.push(...rows.map((each) => each.message.id));
  return ids;
}

export function code(expected: string, message: RegExp = /./): (error: unknown) => boolean {
  return (error) => (error as { code?: unknown }).code === expected && message.test((error as Error).message);
}
