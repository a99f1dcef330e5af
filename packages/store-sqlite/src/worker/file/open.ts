import { renameSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { Fault } from "../fault.ts";
import type { OpenArgs } from "../protocol.ts";
import { judge } from "./check.ts";
import { Database } from "./database.ts";
import { Members } from "./members.ts";
import { createPrivate, inspectPlace, isOpenToOthers, lstat, makePrivate } from "./place.ts";
import { recover, type Saved } from "./recover.ts";
import { checkStamp, createStamp, readStamp, STORE_FORMAT, upgradeStamp } from "./stamp.ts";
import { judgeSqlite } from "./version.ts";
import { keepLog, lostFrames } from "./wal.ts";

/** What a kind of store brings: its tables, and which of them can be saved from a damaged file. */
export interface Kind {
  create(sql: DatabaseSync): void;
  /** Adds what a store of an older format has not. */
  upgrade(sql: DatabaseSync): void;
  saved(damaged: DatabaseSync, into: DatabaseSync): readonly Saved[];
  /** After rows were saved: counters that go with them. */
  repaired(sql: DatabaseSync): void;
}

export interface Opened {
  readonly db: Database;
  readonly id: string;
  /** It stays so for as long as anybody has the store open. */
  readonly format: number;
  close(): void;
}

/**
 * Opens a store, after checking it if nobody else has it open.
 * @throws Fault `store`
 */
export function openStore(args: OpenArgs, kind: Kind, surfaced: (what: string) => void): Opened {
  const { path } = args;
  const note = judgeSqlite(process.versions.sqlite ?? "0", args.processes);
  if (note !== null) surfaced(note);
  inspectPlace(path);
  const members = new Members(path);
  try {
    members.alone((initialised) => prepare(args, kind, initialised, surfaced));
    members.join(args.processes);
    if (inspectPlace(path) !== "there") throw new Fault("store", `${path} is gone although it was just there`);
    const db = new Database(path, args.kind === "outbox" ? args.maxBytes : null);
    try {
      const stamp = readStamp(db.sql);
      if (stamp === null) throw new Fault("store", `${path} has no store in it although somebody has it open`);
      checkStamp(path, stamp, args.kind);
      if (stamp.format < STORE_FORMAT) upgrade(db, kind, false);
      return {
        db,
        id: stamp.id,
        format: stamp.format,
        close() {
          db.close();
          members.close();
        },
      };
    } catch (error) {
      db.close();
      throw error;
    }
  } catch (error) {
    members.close();
    throw error;
  }
}

/** While others have it open, perhaps in a version that knows less, only what hinders none of them is added. */
function upgrade(db: Database, kind: Kind, alone: boolean): void {
  db.begin("acked");
  try {
    kind.upgrade(db.sql);
    upgradeStamp(db.sql, alone);
    db.commit();
  } catch (error) {
    db.rollback();
    throw error;
  }
}

/** Nobody else has it open: make it, or look whether it is whole. */
function prepare(args: OpenArgs, kind: Kind, initialised: boolean, surfaced: (what: string) => void): void {
  const { path } = args;
  const found = inspectPlace(path);
  if (found === "empty" && initialised) {
    throw new Fault(
      "store",
      `${path} has no bytes, and it was a store before: something emptied it. Move it and ${path}-wal aside to begin anew`,
    );
  }
  const stamp = timeName(args);
  if (found === "missing") {
    if (initialised) surfaced(`${path} was a store before and is gone: what was in it is lost to this one`);
    // SQLite would delete a log without its file.
    if (lstat(`${path}-wal`) !== null) {
      renameSync(`${path}-wal`, `${path}-wal.damaged-${stamp}`);
      surfaced(`a log without its store is kept as ${path}-wal.damaged-${stamp}`);
    }
    createPrivate(path);
  } else if (found === "there") {
    const lost = initialised ? lostFrames(path) : 0;
    if (lost > 0) {
      keepLog(path, `${path}-wal.damaged-${stamp}`);
      surfaced(
        `the log of ${path} is damaged in front of ${lost} pages, which were not recovered; it is kept as ${path}-wal.damaged-${stamp}`,
      );
    }
    const judgement = judge(path, args.kind, initialised);
    if (judgement.is === "damaged") {
      if (judgement.foreign)
        throw new Fault(
          "store",
          `${path} is damaged (${judgement.reason}) and holds other tables too: it is left as it is`,
        );
      return quarantine(args, kind, judgement.reason, stamp, surfaced);
    }
    if (judgement.is === "unstamped" && judgement.foreign && isOpenToOthers(path)) {
      surfaced(`${path} can be read by others than its owner; messages of parked keys will be in it`);
    } else if (!(judgement.is === "unstamped" && judgement.foreign)) makePrivate(path);
    if (judgement.is === "whole") return judgement.format < STORE_FORMAT ? renew(args, kind) : undefined;
  }
  make(args, kind, () => {});
}

function renew(args: OpenArgs, kind: Kind): void {
  const db = new Database(args.path, args.kind === "outbox" ? args.maxBytes : null);
  try {
    upgrade(db, kind, true);
  } finally {
    db.close();
  }
}

function make(args: OpenArgs, kind: Kind, fill: (sql: DatabaseSync) => void): void {
  const db = new Database(args.path, args.kind === "outbox" ? args.maxBytes : null);
  try {
    db.begin("acked");
    createStamp(db.sql, { kind: args.kind, format: STORE_FORMAT, id: args.id });
    kind.create(db.sql);
    fill(db.sql);
    db.commit();
  } catch (error) {
    db.rollback();
    throw error;
  } finally {
    db.close();
  }
}

/** Moves a damaged store aside, by name, and begins anew with what can be read of it. Nothing is deleted. */
function quarantine(args: OpenArgs, kind: Kind, reason: string, stamp: string, surfaced: (what: string) => void): void {
  const { path } = args;
  const aside = `${path}.damaged-${stamp}`;
  for (const side of ["-wal", "-shm", ""]) if (lstat(path + side) !== null) renameSync(path + side, aside + side);
  createPrivate(path);
  let said = "";
  make(args, kind, (sql) => {
    const { rows, spoilt, torn } = recover(aside, sql, (damaged) => kind.saved(damaged, sql));
    kind.repaired(sql);
    said = `${rows} rows were recovered${spoilt > 0 ? `, ${spoilt} were spoilt` : ""}${torn.length > 0 ? `, not all of ${torn.join(", ")} could be read` : ""}`;
  });
  surfaced(`${path} is damaged (${reason}): it is kept as ${aside}; ${said}`);
}

/** A name that sorts by time and that file systems take. */
function timeName(args: OpenArgs): string {
  return new Date(args.now.wall).toISOString().replace(/[:.]/g, "-");
}
