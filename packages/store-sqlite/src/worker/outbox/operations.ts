import type { GivenBack } from "@tallymq/core/spi";
import { FENCE_SLOTS } from "../../record/slots.ts";
import type { Database } from "../file/database.ts";
import { type Answer, type Operations, operation, type PutAnswer, type PutArgs } from "../protocol.ts";
import { halfOperations } from "./halves.ts";
import { RelayLock } from "./lock.ts";
import { Parked } from "./parked.ts";
import { packRecords, Relay } from "./relay.ts";
import { type Limit, Rows } from "./rows.ts";

type At = { readonly lease: number };
interface ParkedLine {
  readonly place: number;
  readonly stored_at: number;
  readonly record: Uint8Array;
  readonly code: string;
  readonly reason: string;
  readonly parked_at: number;
}

/** An outbox on one connection: what the main thread may ask of it. */
export function outboxRoom(db: Database, maxSum: number | null, surfaced: (what: string) => void): OutboxRoom {
  const { sql } = db;
  const rows = new Rows(db, maxSum);
  const parked = new Parked(db);
  const relays = new Map<number, Relay>();
  const weigh = sql.prepare(
    "SELECT count(*) AS n, coalesce(sum(length(record)), 0) AS bytes FROM tally_rows WHERE place BETWEEN ? AND ?",
  );
  // Without RETURNING: that would make SQLite copy each page before each row.
  const remove = sql.prepare("DELETE FROM tally_rows WHERE place BETWEEN ? AND ?");
  const park = sql.prepare(
    "INSERT OR REPLACE INTO tally_parked_rows (place, code, reason, parked_at) VALUES (?, ?, ?, ?)",
  );
  const unpark = sql.prepare("DELETE FROM tally_parked_rows WHERE place = ?");
  const renew = sql.prepare("UPDATE tally_rows SET stored_at = ? WHERE place = ?");
  const list = sql.prepare(
    "SELECT r.place AS place, stored_at, record, code, reason, parked_at FROM tally_parked_rows p JOIN tally_rows r USING (place) ORDER BY r.place LIMIT ?",
  );
  const oldest = sql.prepare(
    "SELECT stored_at FROM tally_rows WHERE place NOT IN (SELECT place FROM tally_parked_rows) ORDER BY place LIMIT 1",
  );
  const slots = sql.prepare("SELECT slot, count(*) AS n FROM tally_rows WHERE slot IS NOT NULL GROUP BY slot");
  const setAside = sql.prepare(
    "INSERT OR REPLACE INTO tally_damaged_rows (place, slot, stored_at, crc, record) SELECT place, slot, stored_at, crc, record FROM tally_rows WHERE place = ?",
  );

  const drop = (places: readonly number[]): number => {
    let [count, bytes] = [0, 0];
    for (const [first, last] of runsOf(places)) {
      const weight = weigh.get(first, last) as { n: number; bytes: number };
      count += weight.n;
      bytes += weight.bytes;
      if (weight.n > 0) remove.run(first, last);
    }
    if (count > 0) rows.left(count, bytes);
    return count;
  };
  const quarantine = (places: readonly number[]): void => {
    db.begin("relay");
    try {
      for (const place of places) setAside.run(place);
      drop(places);
      db.commit();
    } catch (error) {
      db.rollback();
      throw error;
    }
    for (const place of places)
      surfaced(`row ${place} of ${db.path} is damaged: it is kept in the table tally_damaged_rows and not sent`);
  };
  const relayOf = ({ lease }: At): Relay => {
    const relay = relays.get(lease);
    if (relay === undefined) throw new Error("no such lease");
    return relay;
  };
  const value = (of: unknown): Answer => ({ value: of });

  const operations: Operations = {
    busySlots: operation("read", () => {
      const counts = new Uint32Array(FENCE_SLOTS);
      for (const row of slots.iterate()) counts[Number(row["slot"])] = Number(row["n"]);
      return { value: counts, transfer: [counts.buffer] };
    }),
    stats: operation("read", () => {
      parked.refresh();
      const counted = rows.counted().rows;
      const first = oldest.get() as { stored_at: number } | undefined;
      return value({ rows: counted - parked.count, parked: parked.count, oldestAt: first?.stored_at ?? null });
    }),
    lease: operation("read", ({ lease, destinations }: At & { destinations: readonly string[] }) => {
      const lock = RelayLock.try(db.path, destinations);
      if (lock === null) return value(false);
      parked.reload();
      relays.set(lease, new Relay(db, lock, parked, destinations, surfaced));
      return value(true);
    }),
    release: operation("read", ({ lease }: At) => {
      relays.get(lease)?.release();
      return value(relays.delete(lease));
    }),
    take: operation("read", (args: At & { most: number; limits: readonly (readonly [string, number])[] }) => {
      const damaged: number[] = [];
      const answer = relayOf(args).take(args.most, new Map(args.limits), (place) => damaged.push(place));
      if (damaged.length > 0) quarantine(damaged);
      return answer;
    }),
    giveBack: operation("read", (args: At & { rows: readonly GivenBack[] }) => {
      const relay = relayOf(args);
      for (const { place, doubtful } of args.rows) relay.giveBack(place, doubtful);
      return value(null);
    }),
    end: operation("relay", (args: At & { places: Float64Array }) => {
      const relay = relayOf(args);
      const ended = [...args.places].filter((place) => relay.given.has(place));
      const count = drop(ended);
      return { value: count, committed: () => ended.forEach((place) => relay.end(place)) };
    }),
    park: operation("relay", (args: At & { place: number; code: string; reason: string; wall: number }) => {
      const relay = relayOf(args);
      if (!relay.given.has(args.place)) return value(false);
      park.run(args.place, args.code, args.reason, args.wall);
      return {
        value: true,
        committed: () => {
          relay.end(args.place);
          parked.reload();
        },
      };
    }),
    parked: operation("read", ({ most }: { most: number }) => {
      const lines = list.all(most) as unknown as ParkedLine[];
      const packed = packRecords(lines);
      return {
        ...packed,
        value: {
          records: packed.value,
          lines: lines.map(({ code, reason, parked_at }) => ({ code, reason, parkedAt: parked_at })),
        },
      };
    }),
    replay: operation("relay", ({ place, wall }: { place: number; wall: number }) => {
      const found = unpark.run(place).changes === 1;
      // A person vouches for it: were it as old as before, the relay would park it again at once.
      if (found) renew.run(wall, place);
      return { value: found, committed: () => freed(place) };
    }),
    purge: operation("relay", ({ place }: { place: number }) => {
      const found = unpark.run(place).changes === 1;
      if (found) drop([place]);
      return { value: found, committed: () => freed(place) };
    }),
  };
  const halves = halfOperations(db, rows, surfaced);
  const freed = (place: number): void => {
    parked.reload();
    for (const relay of relays.values()) relay.rewind(place);
  };

  return {
    operations: { ...operations, ...halves },
    begun: () => rows.begun(),
    isEmpty: () => rows.counted().rows === 0,
    put(args) {
      const limit: Limit = { rows: Infinity, single: false };
      return () => {
        const results = rows.put(args, limit);
        // The pack goes back too, to be filled again.
        return {
          value: { codes: results, pack: args.bytes } satisfies PutAnswer,
          transfer: [results.buffer, args.bytes],
        };
      };
    },
    close() {
      for (const relay of relays.values()) relay.lock.release();
      relays.clear();
    },
  };
}

/** Places that follow each other, as `[first, last]`: what was relayed together nearly always does. */
function runsOf(places: readonly number[]): readonly (readonly [number, number])[] {
  const runs: [number, number][] = [];
  for (const place of places.toSorted((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run !== undefined && place <= run[1] + 1) run[1] = place;
    else runs.push([place, place]);
  }
  return runs;
}

export interface OutboxRoom {
  readonly operations: Operations;
  /** A transaction begins. */
  begun(): void;
  isEmpty(): boolean;
  /** A job that stores a pack, for {@link Group}. */
  put(args: PutArgs): () => Answer;
  close(): void;
}
