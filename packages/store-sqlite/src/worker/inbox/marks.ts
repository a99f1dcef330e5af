import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { ClaimAsk, InboxKey, InboxOutcome } from "@tallymq/core/spi";
import type { Now } from "../protocol.ts";
import type { Ageing } from "./ageing.ts";
import { type IdentityOf, identityIn } from "./identity.ts";
import { bucketTable } from "./schema.ts";

/** Of a mark. `open`: claimed, or failed and to be claimed again. */
const STATE = { open: 0, done: 1, dead: 2 } as const;

/** What a claim comes to, one for each key; the main thread adds the key. */
export type Claimed =
  | { readonly state: "fresh"; readonly attempt: number; readonly fence: number }
  | { readonly state: "busy"; readonly leftMs: number }
  | { readonly state: "done" | "conflict" | "parked" }
  | { readonly state: "dead"; readonly reason: string };

interface Mark {
  readonly state: number;
  readonly attempts: number;
  readonly fence: number;
  readonly boot: number;
  readonly until: number;
  readonly reason: string | null;
  /** 1: of the same body. */
  readonly same: number;
}

interface Bucket {
  readonly find: StatementSync;
  /** Only where there is none. */
  readonly begin: StatementSync;
  readonly write: StatementSync;
  /** In place: state, attempts, fence, boot, until, reason. */
  readonly change: StatementSync;
  readonly remove: StatementSync;
}

/** Whether an ordered key is parked. */
export type IsParked = (group: string, topic: string, key: string) => boolean;

/** A claim that may still write, as it was found. */
export interface Held {
  readonly identity: Uint8Array;
  readonly bucket: number;
  readonly mark: Mark;
}

/** Identities of claims that were given out and have not ended, at most: the hash is dear, and each is asked for again. */
const MOST_KNOWN = 10_000;

const COLUMNS = "(identity, body, state, attempts, fence, boot, until, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

/** Claims and marks of identities. Everything runs inside a transaction. */
export class Marks {
  readonly #sql: DatabaseSync;
  readonly #ageing: Ageing;
  readonly #fences: StatementSync;
  readonly identityOf: IdentityOf;
  #buckets: Map<number, Bucket> = new Map();
  /** By fence. */
  readonly #known: Map<number, { readonly key: InboxKey; readonly identity: Uint8Array }> = new Map();

  constructor(sql: DatabaseSync, ageing: Ageing) {
    this.#sql = sql;
    this.#ageing = ageing;
    this.identityOf = identityIn(sql);
    this.#fences = sql.prepare("UPDATE tally_inbox SET fence = fence + ? RETURNING fence");
  }

  claim(keys: readonly ClaimAsk[], leaseMs: number, now: Now, isParked: IsParked): readonly Claimed[] {
    // Numbers for all, also for those that turn out not to be ours: there is no end to them.
    let fence = Number(this.#fences.get(keys.length)?.["fence"]) - keys.length;
    return keys.map((key): Claimed => {
      const identity = this.identityOf(key);
      if (key.behind === null || !isParked(key.group, key.topic, key.behind)) {
        if (this.#begins(identity, key.bodyHash, fence + 1, now.monotonic + leaseMs)) {
          this.#knows(++fence, key, identity);
          return { state: "fresh", attempt: 1, fence };
        }
      }
      const found = this.#find(identity, key.bodyHash);
      const mark = found?.mark;
      if (mark !== undefined) {
        if (mark.same !== 1) return { state: "conflict" };
        if (mark.state === STATE.done) return { state: "done" };
        if (mark.state === STATE.dead) return { state: "dead", reason: mark.reason ?? "" };
      }
      if (key.behind !== null && isParked(key.group, key.topic, key.behind)) return { state: "parked" };
      if (mark !== undefined) {
        const leftMs = mark.boot === this.#ageing.boot ? mark.until - now.monotonic : 0;
        if (leftMs > 0) return { state: "busy", leftMs: Math.ceil(leftMs) };
      }
      fence++;
      const attempt = (mark?.attempts ?? 0) + 1;
      this.#write(identity, key, found?.bucket ?? null, {
        state: STATE.open,
        attempts: attempt,
        fence,
        until: now.monotonic + leaseMs,
        reason: null,
      });
      this.#knows(fence, key, identity);
      return { state: "fresh", attempt, fence };
    });
  }

  /** The claim of what was never claimed, as nearly all are: one statement. False: there is a mark, and nothing was written. */
  #begins(identity: Uint8Array, bodyHash: bigint, fence: number, until: number): boolean {
    const { current, live, boot } = this.#ageing;
    const body = BigInt.asIntN(64, bodyHash);
    for (const bucket of live)
      if (bucket !== current && this.#bucket(bucket).find.get(body, identity) !== undefined) return false;
    return this.#bucket(current).begin.run(identity, body, STATE.open, 1, fence, boot, until, null).changes === 1;
  }

  #knows(fence: number, key: InboxKey, identity: Uint8Array): void {
    if (this.#known.size >= MOST_KNOWN) this.#known.delete(this.#known.keys().next().value ?? 0);
    this.#known.set(fence, { key, identity });
  }

  /** Whether this claim may still write. */
  holds(key: InboxKey, fence: number): boolean {
    return this.held(key, fence) !== null;
  }

  /** The same, for {@link endHeld} in the same transaction. */
  held(key: InboxKey, fence: number): Held | null {
    const identity = this.#identity(key, fence);
    const found = this.#find(identity, key.bodyHash);
    return found !== null && found.mark.same === 1 && found.mark.state === STATE.open && found.mark.fence === fence
      ? { identity, ...found }
      : null;
  }

  /** False: fenced, and nothing was written. */
  renew(key: InboxKey, fence: number, leaseMs: number, now: Now): boolean {
    const held = this.held(key, fence);
    if (held === null) return false;
    this.#write(held.identity, key, held.bucket, {
      state: STATE.open,
      attempts: held.mark.attempts,
      fence,
      until: now.monotonic + leaseMs,
      reason: null,
    });
    return true;
  }

  /** False: fenced, and nothing was written. */
  end(key: InboxKey, fence: number, outcome: InboxOutcome): boolean {
    const held = this.held(key, fence);
    if (held !== null) this.endHeld(held, key, outcome);
    return held !== null;
  }

  /** Nobody can have claimed since it was found: the transaction is the same. */
  endHeld({ identity, bucket, mark: { attempts, fence } }: Held, key: InboxKey, outcome: InboxOutcome): void {
    const state = outcome.is === "failed" ? STATE.open : STATE[outcome.is];
    const reason = outcome.is === "dead" ? outcome.reason : null;
    this.#write(identity, key, bucket, { state, attempts, fence, until: 0, reason });
    this.#known.delete(fence);
  }

  /** False: it is not dead, or has another body; nothing was written. */
  revive(key: InboxKey): boolean {
    const identity = this.identityOf(key);
    const found = this.#find(identity, key.bodyHash);
    if (found === null || found.mark.same !== 1 || found.mark.state !== STATE.dead) return false;
    // A number of its own: a renewal by who buried it, still on its way, must not hold it.
    const fence = Number(this.#fences.get(1)?.["fence"]);
    this.#write(identity, key, found.bucket, { state: STATE.open, attempts: 0, fence, until: 0, reason: null });
    return true;
  }

  /** Buckets came or went. */
  forget(): void {
    this.#buckets = new Map();
  }

  /** A fence whose claim was undone may be another key's by now. */
  #identity(key: InboxKey, fence: number): Uint8Array {
    const known = this.#known.get(fence);
    const same =
      known !== undefined &&
      known.key.id === key.id &&
      known.key.producer === key.producer &&
      known.key.topic === key.topic &&
      known.key.group === key.group;
    return same ? known.identity : this.identityOf(key);
  }

  #find(identity: Uint8Array, bodyHash: bigint): { readonly bucket: number; readonly mark: Mark } | null {
    const body = BigInt.asIntN(64, bodyHash);
    for (const bucket of this.#ageing.live) {
      const mark = this.#bucket(bucket).find.get(body, identity);
      if (mark !== undefined) return { bucket, mark: mark as unknown as Mark };
    }
    return null;
  }

  /** Into the youngest bucket, whichever it was in: the memory of an effect begins at its end. */
  #write(
    identity: Uint8Array,
    key: InboxKey,
    was: number | null,
    mark: Pick<Mark, "state" | "attempts" | "fence" | "until" | "reason">,
  ): void {
    const { current, boot } = this.#ageing;
    if (was === current) {
      this.#bucket(current).change.run(mark.state, mark.attempts, mark.fence, boot, mark.until, mark.reason, identity);
      return;
    }
    if (was !== null) this.#bucket(was).remove.run(identity);
    this.#bucket(current).write.run(
      identity,
      BigInt.asIntN(64, key.bodyHash),
      mark.state,
      mark.attempts,
      mark.fence,
      boot,
      mark.until,
      mark.reason,
    );
  }

  #bucket(bucket: number): Bucket {
    let found = this.#buckets.get(bucket);
    if (found === undefined) {
      const table = bucketTable(bucket);
      found = {
        find: this.#sql.prepare(
          `SELECT state, attempts, fence, boot, until, reason, body = ? AS same FROM ${table} WHERE identity = ?`,
        ),
        begin: this.#sql.prepare(`INSERT OR IGNORE INTO ${table} ${COLUMNS}`),
        write: this.#sql.prepare(`INSERT OR REPLACE INTO ${table} ${COLUMNS}`),
        change: this.#sql.prepare(
          `UPDATE ${table} SET state = ?, attempts = ?, fence = ?, boot = ?, until = ?, reason = ? WHERE identity = ?`,
        ),
        remove: this.#sql.prepare(`DELETE FROM ${table} WHERE identity = ?`),
      };
      this.#buckets.set(bucket, found);
    }
    return found;
  }
}
