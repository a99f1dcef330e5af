import { hash } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import type { InboxKey } from "@tallymq/core/spi";

/** What makes an effect the same one. */
export type Effect = Pick<InboxKey, "group" | "topic" | "producer" | "id">;

/**
 * The bytes that a mark is stored by. Stores of a format before 3, and what was saved of such a one, keep theirs: processes of
 * both may have it open, and have to find each other's marks.
 */
export type IdentityOf = (effect: Effect) => Uint8Array;

const HASH_BYTES = 16;
/** Of a UUIDv7 all that tells its time, and of a numbered id mostly the whole. */
const ID_BYTES = 16;

/** @returns as this store does it. */
export function identityIn(sql: DatabaseSync): IdentityOf {
  return sql.prepare("SELECT by_id FROM tally_inbox").get()?.["by_id"] === 1 ? identityById : identityByHash;
}

/**
 * The id's first bytes, then the hash: the ids of one time share their pages, where by the hash alone each mark is a page
 * of its own to read and to write.
 */
export function identityById(effect: Effect): Uint8Array {
  const identity = Buffer.alloc(ID_BYTES + HASH_BYTES);
  identity.set(Buffer.from(effect.id).subarray(0, ID_BYTES));
  identity.set(identityByHash(effect), ID_BYTES);
  return identity;
}

/** 16 bytes of SHA-256 over (group, topic, producer, id), each with its length: bytes are compared, nothing is normalised. */
export function identityByHash({ group, topic, producer, id }: Effect): Uint8Array {
  const parts = [group, topic, producer, id].map((part) => Buffer.from(part));
  const lengths = Buffer.alloc(16);
  for (const [index, part] of parts.entries()) lengths.writeUInt32LE(part.length, 4 * index);
  return hash("sha256", Buffer.concat([lengths, ...parts]), "buffer").subarray(0, HASH_BYTES);
}

/** A store of a format before 3 gets what this one reads. Two processes may come at once, one after the other. */
export function keepIdentities(sql: DatabaseSync): void {
  const there = sql.prepare("SELECT 1 AS one FROM pragma_table_info('tally_inbox') WHERE name = 'by_id'").get();
  if (there === undefined) sql.exec("ALTER TABLE tally_inbox ADD COLUMN by_id INTEGER NOT NULL DEFAULT 0");
}

/** A store made anew of what was saved of another: `of` are its tables with identities. */
export function repairIdentities(sql: DatabaseSync, of: readonly string[]): void {
  const byHash = of.some(
    (table) => sql.prepare(`SELECT length(identity) AS bytes FROM ${table} LIMIT 1`).get()?.["bytes"] === HASH_BYTES,
  );
  if (byHash) sql.exec("UPDATE tally_inbox SET by_id = 0");
}
