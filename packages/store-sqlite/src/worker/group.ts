import type { Database, Level } from "./file/database.ts";
import { asFault, SQLITE, sqliteCode } from "./fault.ts";
import type { Answer } from "./protocol.ts";

/** Something to do in a transaction. Run again from the start when the transaction had to be. */
export interface Job {
  readonly n: number;
  run(): Answer;
}

export interface Answers {
  ok(n: number, answer: Answer): void;
  failed(n: number, error: unknown): void;
}

/** Thrown by a job that has met the store's bound and knows, when run again, what not to try. */
export class BoundReached extends Error {}

/**
 * One transaction and the jobs in it: answered together, after the commit. If it fails, nothing of it was written, and
 * every job of it is told so; after an error of the disk, that it may have been.
 */
export class Group {
  readonly #db: Database;
  readonly #level: Level;
  readonly #answers: Answers;
  readonly #begun: () => void;
  #done: { job: Job; answer: Answer }[] = [];
  #open = false;
  #relieved = false;
  /** Bumped when the transaction ends, however it does. */
  generation = 0;

  /** @param begun Called inside each new transaction, before the first job. */
  constructor(db: Database, level: Level, answers: Answers, begun: () => void = () => {}) {
    this.#db = db;
    this.#level = level;
    this.#answers = answers;
    this.#begun = begun;
  }

  get size(): number {
    return this.#done.length;
  }

  /** Begins the transaction if there is none. */
  open(): void {
    if (this.#open) return;
    this.#db.begin(this.#level);
    this.#open = true;
    this.#begun();
  }

  add(job: Job): void {
    try {
      this.open();
      this.#done.push({ job, answer: job.run() });
    } catch (error) {
      if (error instanceof BoundReached) this.#again([...this.#done.map((each) => each.job), job]);
      else this.fail(error, job);
    }
  }

  commit(): void {
    if (!this.#open) return;
    try {
      this.#db.commit();
    } catch (error) {
      const jobs = this.#done.map((each) => each.job);
      // A log that cannot grow may still be folded into the file, and then begins anew at its front.
      if (sqliteCode(error) === SQLITE.full && !this.#relieved && jobs.length > 0) {
        this.#relieved = true;
        this.#end();
        this.#fold();
        for (const job of jobs) this.add(job);
        this.commit();
      } else {
        this.fail(error, null, true);
      }
      this.#relieved = false;
      return;
    }
    const done = this.#done;
    this.#end();
    for (const { job, answer } of done) {
      answer.committed?.();
      this.#answers.ok(job.n, answer);
    }
  }

  /** Undoes all of it and says so to everybody in it. */
  fail(error: unknown, last: Job | null = null, committing = false): void {
    const jobs = [...this.#done.map((each) => each.job), ...(last === null ? [] : [last])];
    this.#end();
    const fault = asFault(error, this.#db.path, committing);
    for (const job of jobs) this.#answers.failed(job.n, fault);
  }

  #again(jobs: readonly Job[]): void {
    this.#end();
    for (const [index, job] of jobs.entries()) {
      try {
        this.open();
        this.#done.push({ job, answer: job.run() });
      } catch (error) {
        // Each round gives up at an earlier row, so that this ends.
        if (error instanceof BoundReached) return this.#again(jobs);
        this.fail(error, job);
        for (const rest of jobs.slice(index + 1)) this.add(rest);
        return;
      }
    }
  }

  #end(): void {
    this.#done = [];
    this.#open = false;
    this.generation++;
    this.#db.rollback();
  }

  #fold(): void {
    try {
      this.#db.sql.exec("PRAGMA wal_checkpoint(RESTART)");
    } catch {
      // Then there is no room at all; the second try says so.
    }
  }
}
