import { readFileSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Now } from "../protocol.ts";
import { bucketsIn, bucketTable, createBucket } from "./schema.ts";

/** A mark is dropped with its bucket when this many younger ones are there: then it is at least one less bucket old. */
const KEPT = 8;
/** Below that, time that has passed is not written down: it is still there at the next look. */
const UNNOTED_MS = 1_000;
/**
 * Who opens an inbox read its clock before its thread began, and others that have it open may have noted a later time until
 * it is its turn. By so much a clock may lie behind and is not taken for another boot's: leases of two boots mean nothing to
 * each other, and each process would take the other's claims for over.
 */
const BEHIND_MS = 60_000;

interface Ages {
  readonly bucket: number;
  readonly aged: number;
  readonly boot: string;
  readonly boots: number;
  readonly monotonic: number;
  readonly wall: number;
}

/**
 * Buckets age by monotonic time while a process has the inbox open, and by at most one bucket when one opens it, however
 * long it says it was closed: a clock that jumps may lengthen memory, never shorten it.
 */
export class Ageing {
  readonly #sql: DatabaseSync;
  readonly #bucketMs: number;
  readonly #read: StatementSync;
  readonly #write: StatementSync;
  /** Which boot of the machine this is, as a number of this store: monotonic times of another one mean nothing. */
  boot = 0;
  current = 0;
  /** Young to old. */
  live: readonly number[] = [];

  constructor(sql: DatabaseSync, keepForMs: number) {
    this.#sql = sql;
    this.#bucketMs = Math.ceil(keepForMs / (KEPT - 1));
    this.#read = sql.prepare("SELECT bucket, aged, boot, boots, monotonic, wall FROM tally_inbox");
    this.#write = sql.prepare(
      "UPDATE tally_inbox SET bucket = ?, aged = ?, boot = ?, boots = ?, monotonic = ?, wall = ?",
    );
  }

  /** Inside a transaction: this process has opened the inbox. */
  opened(now: Now): void {
    const ages = this.#ages();
    const id = bootId();
    // Without an id, a monotonic clock that has not gone back is taken for the same boot: then less time is counted.
    const same = ages.boots > 0 && ages.boot === id && now.monotonic >= ages.monotonic - BEHIND_MS;
    const closed = ages.boots === 0 ? 0 : same ? now.monotonic - ages.monotonic : now.wall - ages.wall;
    this.boot = same ? ages.boots : ages.boots + 1;
    const noted = same && now.monotonic < ages.monotonic ? { ...now, monotonic: ages.monotonic } : now;
    this.#age({ ...ages, boot: id, boots: this.boot }, Math.min(Math.max(0, closed), this.#bucketMs), noted);
  }

  /** Inside a transaction, before anything else: what has passed since anybody looked. */
  passed(now: Now): boolean {
    const ages = this.#ages();
    const since = now.monotonic - ages.monotonic;
    if (since >= UNNOTED_MS) this.#age(ages, since, now);
    if (ages.bucket === this.current) return false;
    // Somebody else, or we ourselves just now, began a bucket.
    this.#look();
    return true;
  }

  #age(ages: Ages, ms: number, now: Now): void {
    // Somebody with a longer `keepFor` may have let a bucket age for longer than ours last, and have written marks in it just
    // now: it is full, and no more than that.
    const aged = Math.min(ages.aged, this.#bucketMs - 1) + ms;
    const steps = Math.floor(aged / this.#bucketMs);
    const bucket = ages.bucket + steps;
    this.#write.run(bucket, aged - steps * this.#bucketMs, ages.boot, ages.boots, now.monotonic, now.wall);
    if (steps > 0) {
      createBucket(this.#sql, bucket);
      for (const old of bucketsIn(this.#sql))
        if (old <= bucket - KEPT) this.#sql.exec(`DROP TABLE ${bucketTable(old)}`);
    }
    this.#look();
  }

  #look(): void {
    this.current = this.#ages().bucket;
    this.live = bucketsIn(this.#sql).toReversed();
  }

  #ages(): Ages {
    return this.#read.get() as unknown as Ages;
  }
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}
