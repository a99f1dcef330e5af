import type { GivenBack } from "@tallymq/core/spi";
import { FENCE_SLOTS } from "../../record/slots.ts";
import type { Database } from "../file/database.ts";
import { type Answer, type Operations, operation, type PutAnswer, type PutArgs } from "../protocol.ts";
import { halfOperations } from "./halves.ts";
import { RelayLock } from "./lock.ts";
import { Parked } from "./parked.ts";
import { type Broken, type Pack, Packs } from "./packs.ts";
import { recordsOf } from "../records.ts";
import { type Findings, Relay } from "./relay.ts";
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
export function outboxRoom(
  db: Database,
  maxSum: number | null,
  packing: boolean,
  surfaced: (what: string) => void,
): OutboxRoom {
  const { sql } = db;
  const packs = new Packs(db);
  const rows = new Rows(db, packs, maxSum, packing);
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
    `SELECT stored_at FROM (SELECT * FROM (SELECT place, stored_at FROM tally_rows WHERE place NOT IN (SELECT place FROM tally_parked_rows) ORDER BY place LIMIT 1)
      UNION ALL SELECT * FROM (SELECT place, stored_at FROM tally_packs ORDER BY place LIMIT 1)) ORDER BY place LIMIT 1`,
  );
  const slots = sql.prepare("SELECT slot, count(*) AS n FROM tally_rows WHERE slot IS NOT NULL GROUP BY slot");
  const setAside = sql.prepare(
    "INSERT OR REPLACE INTO tally_damaged_rows (place, slot, stored_at, crc, record) SELECT place, slot, stored_at, crc, record FROM tally_rows WHERE place = ?",
  );

  const drop = (places: readonly number[]): readonly Broken[] => {
    const { loose, broken, ...packed } = packs.end(places.toSorted((a, b) => a - b));
    let [count, bytes] = [packed.rows, packed.bytes];
    for (const [first, last] of runsOf(loose)) {
      const weight = weigh.get(first, last) as { n: number; bytes: number };
      count += weight.n;
      bytes += weight.bytes;
      if (weight.n > 0) remove.run(first, last);
    }
    if (count > 0 || bytes > 0) rows.left(count, bytes);
    return broken;
  };
  const loosen = (list: readonly Pack[]): readonly number[] => list.flatMap((pack) => rows.loosen(pack));
  const tell = (damaged: readonly number[]): void => {
    for (const place of damaged)
      surfaced(`row ${place} of ${db.path} is damaged: it is kept in the table tally_damaged_rows and not sent`);
  };
  const inTransaction = (work: () => void): void => {
    db.begin("relay");
    try {
      work();
      db.commit();
    } catch (error) {
      db.rollback();
      throw error;
    }
  };
  const tidy = ({ damaged, stuck }: Findings): void => {
    const aside = new Set(damaged);
    // Somebody else may have made loose rows of a pack meanwhile.
    const loosenAt = (place: number): boolean => {
      const pack = packs.at(place);
      if (pack !== null) for (const each of rows.loosen(pack)) aside.add(each);
      return pack !== null;
    };
    if (damaged.length > 0)
      inTransaction(() => {
        for (const place of damaged) if (!loosenAt(place) && setAside.run(place).changes === 1) drop([place]);
      });
    if (stuck.length > 0) {
      try {
        inTransaction(() => stuck.forEach(({ place }) => loosenAt(place)));
      } catch {
        // It saves room, no more; the next look tries again.
      }
    }
    tell([...aside]);
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
      db.reading(() => {
        for (const row of slots.iterate()) counts[Number(row["slot"])] = Number(row["n"]);
        packs.countSlots(counts);
      });
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
      relays.set(lease, new Relay(db, lock, packs, parked, destinations, surfaced));
      return value(true);
    }),
    release: operation("read", ({ lease }: At) => {
      relays.get(lease)?.release();
      return value(relays.delete(lease));
    }),
    take: operation("read", (args: At & { most: number; limits: readonly (readonly [string, number])[] }) => {
      const found: Findings = { damaged: [], stuck: [] };
      const relay = relayOf(args);
      const answer = relay.take(args.most, new Map(args.limits), found);
      try {
        if (found.damaged.length + found.stuck.length > 0) tidy(found);
      } catch {
        // Without an answer nobody would ever get the rows that are given by now. The next look comes upon these again.
        for (const place of found.damaged) relay.rewind(place);
      }
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
      const stuck = drop(ended).filter(({ pack, gone }) => relay.isStuck(pack, gone));
      const damaged = loosen(stuck.map(({ pack }) => pack));
      return {
        value: ended.length,
        committed: () => {
          for (const place of ended) relay.end(place);
          tell(damaged);
        },
      };
    }),
    park: operation("relay", (args: At & { place: number; code: string; reason: string; wall: number }) => {
      const relay = relayOf(args);
      if (!relay.given.has(args.place)) return value(false);
      // A parked row is a loose one, and what was with it may have to wait for it.
      const pack = packs.at(args.place);
      const damaged = pack === null ? [] : rows.loosen(pack);
      park.run(args.place, args.code, args.reason, args.wall);
      return {
        value: true,
        committed: () => {
          relay.end(args.place);
          parked.reload();
          tell(damaged);
        },
      };
    }),
    parked: operation("read", ({ most }: { most: number }) => {
      const lines = list.all(most) as unknown as ParkedLine[];
      const records = recordsOf(lines);
      return {
        ...records,
        value: {
          records: records.value,
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
        // The batch's buffer goes back too, to be filled again.
        return {
          value: { codes: results, buffer: args.bytes } satisfies PutAnswer,
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

/** Places in their order; those that follow each other as `[first, last]`: what was relayed together nearly always does. */
function runsOf(places: readonly number[]): readonly (readonly [number, number])[] {
  const runs: [number, number][] = [];
  for (const place of places) {
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
  /** A job that stores a batch, for {@link Group}. */
  put(args: PutArgs): () => Answer;
  close(): void;
}
