import { lstatSync, utimesSync } from "node:fs";
import { createPrivate } from "./place.ts";

/** Between two tries of one who waits. */
const TRY_MS = 1;
/** Who has just written, and sees that somebody waits, stands back for so long: two or three tries of the other's. */
const STAND_BACK_MS = 3;
/** But not before it has had the file for so long: handing it over costs both of them some of that time. */
const SLICE_MS = 50;

/**
 * Who writes next, among processes that share a file. SQLite's own waiting is a poll that gets slower (up to 100 ms), and a
 * process with much to do gives the lock back for microseconds only: the others may not get it for seconds, by which time
 * their claims have run out. So who waits says so, by the time stamp of a file at the store's side, and who wrote last
 * stands back when that stamp has moved since it got the lock.
 *
 * The stamp is a hint and no lock: without it nothing is wrong, only unfair.
 */
export class Turnstile {
  readonly #path: string;
  readonly #cell: Int32Array<SharedArrayBuffer> = new Int32Array(new SharedArrayBuffer(4));
  /** The stamp when this process last had to wait for the lock, or stood back; and when that was. */
  #seen = 0;
  #since = 0;

  constructor(path: string) {
    this.#path = `${path}-waits`;
    createPrivate(this.#path);
    this.#seen = this.#stamp();
  }

  /** Before the lock is asked for: lets those go first who came while we had it. */
  standBack(): void {
    const stamp = this.#stamp();
    if (stamp === this.#seen || performance.now() - this.#since < SLICE_MS) return;
    this.#sleep(STAND_BACK_MS);
    this.#begin();
  }

  /** Somebody else has the lock: says that we wait, and waits a little. */
  wait(): void {
    const now = Date.now();
    try {
      utimesSync(this.#path, now / 1000, now / 1000);
    } catch {
      // Somebody deleted it: then nobody stands back.
    }
    this.#sleep(TRY_MS);
  }

  /** After it had to be waited for. */
  got(): void {
    this.#begin();
  }

  #begin(): void {
    this.#seen = this.#stamp();
    this.#since = performance.now();
  }

  #stamp(): number {
    return lstatSync(this.#path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  }

  #sleep(ms: number): void {
    Atomics.wait(this.#cell, 0, 0, ms);
  }
}
