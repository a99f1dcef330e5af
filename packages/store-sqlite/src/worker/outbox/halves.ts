import { createHash } from "node:crypto";
import type { StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import type { FoundHalf, HalfOwner } from "@tallymq/core/spi";
import { AT, FLAG, partsOf, slotOf, viewOf } from "../../record/layout.ts";
import type { Database } from "../file/database.ts";
import { SQLITE, sqliteCode } from "../fault.ts";
import { BoundReached } from "../group.ts";
import { type Answer, type Now, type Operations, operation, PUT } from "../protocol.ts";
import { NOT_COMMITTED, STATE } from "./half-schema.ts";
import { recordsOf } from "../records.ts";
import type { Rows } from "./rows.ts";

/** What a row's topic says by default, in seconds, where its record does not. */
const KEEP_SECONDS = 7 * 86_400;
/**
 * Two who ask at once may be served the other way round: the later one's lease then begins a little ahead of the earlier one's
 * clock, and must not look like one of another boot.
 */
const AHEAD_MS = 60_000;
/** Decided ones that are forgotten with one that is prepared: more than come. */
const FORGET = 8;

interface Line {
  readonly place: number;
  readonly fence: number;
  readonly state: number;
  readonly until: number;
  readonly lease: number;
  readonly checks: number;
  readonly prepared_at: number;
  readonly parked_at: number | null;
  readonly reason: string | null;
  readonly crc: number;
  readonly record: Uint8Array;
}
type Found = Line & { readonly owner: string; readonly same: Uint8Array };

/** What the main thread gets beside the records. */
export interface HalfLine {
  readonly fence: number;
  readonly committed: boolean;
  readonly checks: number;
  readonly parkedAt: number | null;
  readonly reason: string | null;
}

/** What a prepare is answered; the half message itself, if it is undecided, is asked for by its place. */
export type PreparedLine =
  | { readonly is: "prepared"; readonly place: number; readonly fence: number }
  | { readonly is: "undecided"; readonly place: number; readonly fence: number }
  | { readonly is: "busy"; readonly leftMs: number }
  | { readonly is: "committed" | "rolledBack" | "conflict" | "full" };

interface PrepareArgs {
  readonly owner: HalfOwner;
  readonly record: Uint8Array;
  readonly leaseMs: number;
  readonly now: Now;
}

const LINE = "place, fence, state, until, lease, checks, prepared_at, parked_at, reason, crc, record";
const STATES: readonly FoundHalf["state"][] = ["undecided", "committed", "released", "rolledBack"];
const NAMES: readonly ("stored" | "same" | "conflict" | "full")[] = ["stored", "same", "conflict", "full"];

/** Half messages of an outbox. */
export function halfOperations({ sql, path }: Database, rows: Rows, surfaced: (what: string) => void): Operations {
  const insert = sql.prepare(
    `INSERT INTO tally_halves (owner, identity, same, state, fence, until, lease, checks, prepared_at, committed, crc, record) VALUES (?, ?, ?, ${STATE.undecided}, 1, ?, ?, 0, ?, ${NOT_COMMITTED}, ?, ?)`,
  );
  const byIdentity = sql.prepare(`SELECT owner, same, ${LINE} FROM tally_halves WHERE identity = ?`);
  const byPlace = sql.prepare(`SELECT owner, same, ${LINE} FROM tally_halves WHERE place = ?`);
  const hold = sql.prepare(
    "UPDATE tally_halves SET fence = fence + 1, until = ?, lease = ?, checks = ? WHERE place = ?",
  );
  const renew = sql.prepare(
    `UPDATE tally_halves SET until = ?, lease = ? WHERE place = ? AND fence = ? AND state < ${STATE.released}`,
  );
  const open = (state: number, order: string): StatementSync =>
    sql.prepare(
      `SELECT ${LINE} FROM tally_halves WHERE owner = ? AND state = ${state} AND parked_at IS NULL ORDER BY ${order}`,
    );
  const undecided = open(STATE.undecided, "until");
  const committed = open(STATE.committed, "committed");
  const number = sql.prepare("UPDATE tally_outbox SET next = next + 1 RETURNING next");
  const commit = sql.prepare(
    `UPDATE tally_halves SET state = ${STATE.committed}, committed = ?, parked_at = NULL WHERE place = ?`,
  );
  const end = sql.prepare(
    "UPDATE tally_halves SET state = ?, parked_at = NULL, record = NULL, forget_at = ? WHERE place = ?",
  );
  const back = sql.prepare(
    `UPDATE tally_halves SET state = ${STATE.committed}, record = ?, forget_at = NULL, parked_at = ?, reason = ? WHERE place = ?`,
  );
  const park = sql.prepare(
    `UPDATE tally_halves SET parked_at = ?, reason = ? WHERE place = ? AND fence = ? AND state < ${STATE.released} AND parked_at IS NULL`,
  );
  const setAside = sql.prepare("UPDATE tally_halves SET parked_at = ?, reason = ? WHERE place = ?");
  const list = sql.prepare(
    `SELECT ${LINE} FROM tally_halves WHERE owner = ? AND state < ${STATE.released} ORDER BY place LIMIT ?`,
  );
  const withdraw = sql.prepare(`DELETE FROM tally_halves WHERE place = ? AND fence = ? AND state = ${STATE.undecided}`);
  const forget = sql.prepare(
    `DELETE FROM tally_halves WHERE place IN (SELECT place FROM tally_halves WHERE state >= ${STATE.released} AND forget_at < ? LIMIT ${FORGET})`,
  );
  const stats = sql.prepare(
    `SELECT count(*) FILTER (WHERE parked_at IS NULL) AS undecided, count(parked_at) AS parked,
      min(prepared_at) FILTER (WHERE parked_at IS NULL) AS oldest FROM tally_halves WHERE state < ${STATE.released}`,
  );
  /** Requests that met the bound: when the transaction is run again they are not tried. */
  const full = new WeakSet<object>();

  const isFree = ({ until, lease }: Line, now: Now): boolean =>
    until <= now.monotonic || until - lease > now.monotonic + AHEAD_MS;
  const take = (line: Line, leaseMs: number, now: Now): Line => {
    const checks = line.checks + (line.state === STATE.undecided ? 1 : 0);
    hold.run(now.monotonic + leaseMs, leaseMs, checks, line.place);
    return { ...line, fence: line.fence + 1, checks };
  };
  const whole = (line: Line, wall: number): boolean => {
    if (crc32(line.record) === line.crc) return true;
    if (line.parked_at === null) {
      setAside.run(wall, "its record is damaged", line.place);
      surfaced(`half message ${line.place} of ${path} is damaged: it is kept as it is, and neither checked nor sent`);
    }
    return false;
  };
  const answer = (lines: readonly Line[]): Answer => {
    const records = recordsOf(
      lines.map(({ place, prepared_at, record }) => ({ place, stored_at: prepared_at, record })),
    );
    const value = lines.map(({ fence, state, checks, parked_at, reason }): HalfLine => ({
      fence,
      committed: state === STATE.committed,
      checks,
      parkedAt: parked_at,
      reason,
    }));
    return { ...records, value: { records: records.value, lines: value } };
  };
  const forgetAt = (record: Uint8Array, wall: number): number =>
    wall + 1_000 * (viewOf(record).getUint32(AT.dedupeFor, true) || KEEP_SECONDS);
  const bounded = <T>(args: object, work: () => T): T => {
    try {
      return work();
    } catch (error) {
      if (sqliteCode(error) !== SQLITE.full) throw error;
      full.add(args);
      throw new BoundReached();
    }
  };
  /** A committed one becomes a row. */
  const release = (half: Line, wall: number, args: object): (typeof NAMES)[number] => {
    const { place, record } = half;
    if (full.has(args)) return "full";
    // Its own room first: at the bound there is no other.
    end.run(STATE.released, forgetAt(record, wall), place);
    const code = bounded(args, () => rows.one(record, wall));
    if (code === PUT.conflict) back.run(record, wall, "the outbox has a row of the same id with another body", place);
    else if (code === PUT.full) back.run(record, null, null, place);
    return NAMES[code] ?? "full";
  };

  return {
    "half.prepare": operation("write", (args: PrepareArgs) => {
      const { record, leaseMs, now } = args;
      if (full.has(args)) return { value: { is: "full" } satisfies PreparedLine };
      const owner = ownerText(args.owner);
      const identity = identityOf(record);
      const same = fingerprint(record);
      const found = byIdentity.get(identity) as Found | undefined;
      let value: PreparedLine;
      if (found === undefined) {
        forget.run(now.wall);
        const until = now.monotonic + leaseMs;
        const { lastInsertRowid } = bounded(args, () =>
          insert.run(owner, identity, same, until, leaseMs, now.wall, crc32(record), record),
        );
        value = { is: "prepared", place: Number(lastInsertRowid), fence: 1 };
      } else if (found.owner !== owner || Buffer.compare(found.same, same) !== 0) value = { is: "conflict" };
      else if (found.state === STATE.rolledBack) value = { is: "rolledBack" };
      else if (found.state !== STATE.undecided) value = { is: "committed" };
      else if (!isFree(found, now)) value = { is: "busy", leftMs: found.until - now.monotonic };
      else {
        const { place, fence } = take(found, leaseMs, now);
        value = { is: "undecided", place, fence };
      }
      return { value };
    }),
    "half.renew": operation("write", (of: { place: number; fence: number; ms: number; now: Now }) => ({
      value: renew.run(of.now.monotonic + of.ms, of.ms, of.place, of.fence).changes === 1,
    })),
    "half.decide": operation("write", (args: { place: number; decision: string; release: boolean; wall: number }) => {
      const { place, decision, wall } = args;
      const half = byPlace.get(place) as Found | undefined;
      if (half === undefined) return { value: null };
      let { state } = half;
      if (state === STATE.undecided && decision === "rollback") {
        end.run((state = STATE.rolledBack), forgetAt(half.record, wall), place);
      } else if (state === STATE.undecided) {
        commit.run(NOT_COMMITTED + Number(number.get()?.["next"]), place);
        state = STATE.committed;
      }
      const put = state === STATE.committed && args.release ? release(half, wall, args) : null;
      return {
        value: {
          decision: state === STATE.rolledBack ? "rollback" : "commit",
          released: state === STATE.released || put === "stored" || put === "same",
        },
      };
    }),
    "half.release": operation("write", (args: { place: number; wall: number }) => {
      const half = byPlace.get(args.place) as Found | undefined;
      return { value: half?.state === STATE.committed ? release(half, args.wall, args) : "same" };
    }),
    "half.settle": operation("write", ({ place, wall }: { place: number; wall: number }) => {
      const half = byPlace.get(place) as Found | undefined;
      if (half?.state !== STATE.committed) return { value: false };
      end.run(STATE.released, forgetAt(half.record, wall), place);
      return { value: true };
    }),
    "half.withdraw": operation("write", ({ place, fence }: { place: number; fence: number }) => ({
      value: withdraw.run(place, fence).changes === 1,
    })),
    "half.due": operation("write", (of: { owner: HalfOwner; leaseMs: number; most: number; now: Now }) => {
      const owner = ownerText(of.owner);
      const found: Line[] = [];
      // In the order of the commits, and none before an earlier one of its key that somebody is at.
      const held = new Set<number>();
      for (const each of committed.iterate(owner)) {
        const line = each as unknown as Line;
        if (found.length >= of.most) break;
        const slot = slotOf(viewOf(line.record));
        if (!isFree(line, of.now) || (slot !== null && held.has(slot))) {
          if (slot !== null) held.add(slot);
        } else found.push(line);
      }
      for (const each of undecided.iterate(owner)) {
        const line = each as unknown as Line;
        if (found.length >= of.most) break;
        if (isFree(line, of.now)) found.push(line);
      }
      return answer(found.filter((line) => whole(line, of.now.wall)).map((line) => take(line, of.leaseMs, of.now)));
    }),
    "half.at": operation("read", ({ place }: { place: number }) => {
      const half = byPlace.get(place) as Found | undefined;
      return answer(half?.record instanceof Uint8Array ? [half] : []);
    }),
    "half.park": operation("write", (of: { place: number; fence: number; reason: string; wall: number }) => ({
      value: park.run(of.wall, of.reason, of.place, of.fence).changes === 1,
    })),
    "half.list": operation("read", (of: { owner: HalfOwner; most: number }) => {
      const lines = list.all(ownerText(of.owner), of.most) as unknown as Line[];
      return answer(lines.filter((line) => crc32(line.record) === line.crc));
    }),
    "half.find": operation("read", (of: { owner: HalfOwner; topic: string; id: string; now: Now }) => {
      const { destination, producer } = of.owner;
      const head = Buffer.from(JSON.stringify([destination, producer, of.topic]));
      const half = byIdentity.get(identityBytes(head, Buffer.from(of.id))) as Found | undefined;
      if (half?.owner !== ownerText(of.owner)) return { value: null };
      return { value: { place: half.place, state: STATES[half.state], free: isFree(half, of.now) } };
    }),
    "half.stats": operation("read", () => {
      const counted = stats.get() as { undecided: number; parked: number; oldest: number | null };
      return { value: { undecided: counted.undecided, parked: counted.parked, oldestAt: counted.oldest } };
    }),
  };
}

function ownerText({ destination, producer, name }: HalfOwner): string {
  return JSON.stringify([destination, producer, name]);
}

/** Head and id with their border: (destination, producer, topic, id), as bytes. */
function identityOf(record: Uint8Array): Uint8Array {
  const { id, traits } = partsOf(viewOf(record));
  return identityBytes(record.subarray(AT.texts, id), record.subarray(id, traits));
}

function identityBytes(head: Uint8Array, id: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(2 + head.length + id.length);
  bytes.writeUInt16LE(head.length);
  bytes.set(head, 2);
  bytes.set(id, 2 + head.length);
  return bytes;
}

/** Of key and body: all that a later call must have in common. The body itself goes with its release. */
function fingerprint(record: Uint8Array): Uint8Array {
  const { key, extra, body } = partsOf(viewOf(record));
  const keyed = ((record[AT.flags] ?? 0) & FLAG.key) === 0 ? "-" : String(extra - key);
  return createHash("sha256")
    .update(`${keyed}:`)
    .update(record.subarray(key, extra))
    .update(record.subarray(body))
    .digest();
}
