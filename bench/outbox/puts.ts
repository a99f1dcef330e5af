import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { NewRow, StoreHost } from "@tallymq/core/spi";
import { sqlite } from "@tallymq/store-sqlite";
import { bodyOf } from "../clients/publish-window.ts";
import { counted, Meter } from "./meter.ts";
import { watchStalls } from "./stall.ts";
import type { OutboxMeasure, OutboxTask, Stall } from "./task.ts";

const WARM_MS = 1_000;
/** One for all, as a tally's is: text made anew for each message would be compared letter by letter. */
const RUN = "0".repeat(32);
/** As core makes them: rising with time. */
let ids = 0;
const nextId = (): string => `0198c0de-7a7a-7000-8000-${String(ids++).padStart(12, "0")}`;

/** Callers that each put one message and wait until it is on the disk, again and again. */
export async function puts(task: OutboxTask): Promise<OutboxMeasure> {
  return task.client === "sqlite" ? byHand(task) : await byStore(task);
}

async function byStore({ folder, bytes, callers, seconds }: OutboxTask): Promise<OutboxMeasure> {
  await using store = await sqlite(join(folder, "outbox.db"), { maxBytes: 64 * 1024 ** 3 }).openOutbox(host());
  const body = bodyOf(bytes);
  let done = 0;
  let over = false;
  const caller = async (): Promise<void> => {
    while (!over) {
      const [result] = await store.put([rowOf(nextId(), body)]);
      if (result !== "stored") throw new Error(`a put was answered ${result}`);
      done++;
    }
  };
  const all = Promise.all(Array.from({ length: callers }, caller));
  await sleep(WARM_MS);
  const [meter, stalls, before] = [new Meter(), watchStalls(), done];
  await sleep(seconds * 1_000);
  const figures = { ...meter.end(done - before), stall: stalls() };
  over = true;
  await all;
  const { rows } = await store.stats();
  return { ...figures, said: {}, problems: counted("rows of puts that were answered", rows, done) };
}

/**
 * node:sqlite on this thread with the same durability, as many INSERTs a transaction as there are callers: no identity, no
 * checksum, no envelope, nobody who waits for an answer.
 */
function byHand({ folder, bytes, callers, seconds }: OutboxTask): OutboxMeasure {
  const sql = openByHand(join(folder, "raw.db"), "CREATE TABLE messages (place INTEGER PRIMARY KEY, body BLOB)");
  const [begin, insert, commit] = ["BEGIN IMMEDIATE", "INSERT INTO messages VALUES (?, ?)", "COMMIT"].map((text) =>
    sql.prepare(text),
  );
  const body = bodyOf(bytes);
  let done = 0;
  const work = (ms: number): void => {
    for (const until = performance.now() + ms; performance.now() < until;) {
      begin?.run();
      for (let i = 0; i < callers; i++) insert?.run(++done, body);
      commit?.run();
    }
  };
  work(WARM_MS);
  const [meter, before] = [new Meter(), done];
  work(seconds * 1_000);
  const stall: Stall | null = null;
  const figures = { ...meter.end(done - before), stall };
  sql.close();
  return { ...figures, said: {}, problems: [] };
}

/** The settings of `store-sqlite`: the same log and fsync for both. @param page The outbox's; a user's own file has SQLite's 4,096. */
export function openByHand(path: string, schema: string, page = 16_384): DatabaseSync {
  const sql = new DatabaseSync(path);
  sql.exec(`PRAGMA page_size=${page}; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
    PRAGMA cache_size=-32768; PRAGMA wal_autocheckpoint=500; PRAGMA journal_size_limit=16777216; ${schema}`);
  return sql;
}

function rowOf(id: string, body: Uint8Array): NewRow {
  const message = {
    id,
    producer: "bench",
    run: RUN,
    seq: 1,
    topic: "orders",
    key: null,
    ordered: false,
    type: "orders",
    contentType: "application/octet-stream",
    contentEncoding: null,
    time: 1_764_000_000_000,
    attempt: 1,
    correlationId: null,
    causationId: null,
    headers: {},
    body,
    native: null,
    group: null,
    delayMs: 0,
  };
  return { destination: "broker", slot: null, doubtful: false, lane: null, dedupeForMs: 604_800_000, message };
}

function host(): StoreHost {
  return {
    surfaced: (what) => console.error(what),
    clock: {
      now: () => performance.now(),
      wall: () => Date.now(),
      after(ms, fn) {
        const timer = setTimeout(fn, ms);
        return { cancel: () => clearTimeout(timer) };
      },
    },
    random: { unit: () => Math.random(), bytes: (length) => crypto.getRandomValues(new Uint8Array(length)) },
  };
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
