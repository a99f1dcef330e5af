import type { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import type { InboxKey } from "@tallymq/core/spi";
import { packRecords } from "../outbox/relay.ts";
import { type Operations, operation } from "../protocol.ts";
import { identityOf } from "./marks.ts";

interface ParkArgs {
  readonly identity: Pick<InboxKey, "group" | "topic" | "producer" | "id">;
  readonly key: string;
  readonly reason: string;
  readonly record: Uint8Array;
  readonly wall: number;
  readonly begin: boolean;
}

interface KeyArgs {
  readonly group: string;
  readonly topic: string;
}

/** Messages of parked keys. A key's registration is that it has rows: both go in one transaction. */
export function parkedOperations(
  sql: DatabaseSync,
  max: number,
  path: string,
  surfaced: (what: string) => void,
): Operations {
  const has = sql.prepare("SELECT 1 AS one FROM tally_parked WHERE grp = ? AND topic = ? AND key = ? LIMIT 1");
  const same = sql.prepare("SELECT 1 AS one FROM tally_parked WHERE identity = ?");
  const count = sql.prepare("SELECT count(*) AS n FROM tally_parked");
  const insert = sql.prepare(
    "INSERT INTO tally_parked (grp, topic, key, identity, reason, parked_at, crc, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  );
  const remove = sql.prepare("DELETE FROM tally_parked WHERE place = ?");
  const keys =
    sql.prepare(`SELECT p.grp AS "group", p.topic AS topic, p.key AS key, h.n AS messages, p.reason AS reason, p.parked_at AS parkedAt
    FROM (SELECT min(place) AS first, count(*) AS n FROM tally_parked GROUP BY grp, topic, key) h JOIN tally_parked p ON p.place = h.first ORDER BY h.first LIMIT ?`);
  const messages = sql.prepare(
    "SELECT place, reason, parked_at AS stored_at, crc, record FROM tally_parked WHERE grp = ? AND topic = ? AND key = ? ORDER BY place LIMIT ?",
  );

  return {
    parkedKeys: operation("read", ({ group, topic, keys: asked }: KeyArgs & { keys: readonly string[] }) => ({
      value: asked.filter((key) => has.get(group, topic, key) !== undefined),
    })),
    "inbox.park": operation("write", ({ identity: of, key, reason, record, wall, begin }: ParkArgs) => {
      const identity = identityOf(of);
      if (same.get(identity) !== undefined) return { value: "parked" };
      if (!begin && has.get(of.group, of.topic, key) === undefined) return { value: "free" };
      if (Number(count.get()?.["n"]) >= max) return { value: "full" };
      insert.run(of.group, of.topic, key, identity, reason, wall, crc32(record), record);
      return { value: "parked" };
    }),
    "inbox.parked": operation("read", ({ most }: { most: number }) => ({
      value: keys.all(most).map((row) => ({ ...row })),
    })),
    parkedMessages: operation("read", ({ group, topic, key, most }: KeyArgs & { key: string; most: number }) => {
      const rows = messages.all(group, topic, key, most) as unknown as {
        place: number;
        reason: string;
        stored_at: number;
        crc: number;
        record: Uint8Array;
      }[];
      const whole = rows.filter((row) => crc32(row.record) === row.crc);
      for (const row of rows)
        if (!whole.includes(row))
          surfaced(`parked message ${row.place} of ${path} is damaged: it stays in tally_parked and is not run`);
      const packed = packRecords(whole);
      return { ...packed, value: { records: packed.value, reasons: whole.map((row) => row.reason) } };
    }),
    unpark: operation("write", ({ place }: { place: number }) => ({ value: remove.run(place).changes === 1 })),
  };
}
