import type { Clock, Timer } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import type { Claim, ClaimAsk, FreshClaim, InboxKey, InboxOutcome, InboxStore } from "../stores.ts";

/** A claim of ours, from the store's answer to its end. */
export class Hold {
  readonly claim: FreshClaim;
  renewAt: number;
  /** The store gave it to another one: what it guards is not ours any more. */
  fenced = false;
  /** Deliveries of the same identity in this process, which wait for its end. */
  readonly waiting: Set<() => void> = new Set();

  constructor(claim: FreshClaim, renewAt: number) {
    this.claim = claim;
    this.renewAt = renewAt;
  }
}

/** An answer to a claim; `hold` if it is ours. */
export type Answer = { readonly state: "fresh"; readonly hold: Hold } | Exclude<Claim, FreshClaim>;

export interface ClaimsOptions {
  readonly store: InboxStore<unknown>;
  readonly clock: Clock;
  readonly leaseMs: number;
  /** Another one has this claim by now. */
  fenced(hold: Hold): void;
  /** A renewal failed; it is tried again. */
  surfaced(text: string): void;
}

interface Asked {
  readonly of: ClaimAsk;
  resolve(answer: Answer): void;
  reject(error: TallyError): void;
}

/**
 * Claims of one consumer: those of one tick are one call to the store, and each is renewed at half of its lease until it
 * ends. One timer serves all, since all have the same lease.
 *
 * The lease is counted from before the question was sent, so that we never think it longer than the store does. An answer
 * that took longer than the lease is worthless: somebody else may have the claim by now.
 */
export class Claims {
  readonly #o: ClaimsOptions;
  #asked: Asked[] = [];
  /** By identity, the next to be renewed first. */
  readonly #held: Map<string, Hold> = new Map();
  #timer: Timer | null = null;
  #closed = false;
  #renewalFailed = false;

  constructor(options: ClaimsOptions) {
    this.#o = options;
  }

  /** @throws TallyError `store`: nothing is known, and nothing may run. */
  ask(of: ClaimAsk): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ of, resolve, reject });
      if (this.#asked.length === 1) queueMicrotask(() => void this.#flush());
    });
  }

  /** The claim that this consumer itself has on an identity. */
  find(key: InboxKey): Hold | undefined {
    return this.#held.get(identity(key));
  }

  /** Writes how it ended. False: fenced, nothing was written. @throws TallyError `store` */
  async end(hold: Hold, outcome: InboxOutcome): Promise<boolean> {
    try {
      return await this.#o.store.end(hold.claim, outcome);
    } catch (thrown) {
      throw storeError("the inbox could not be written", thrown);
    } finally {
      this.letGo(hold);
    }
  }

  /** Renewed no more: it has ended, or it shall run out by itself. */
  letGo(hold: Hold): void {
    const at = identity(hold.claim.key);
    if (this.#held.get(at) === hold) this.#held.delete(at);
    for (const wake of hold.waiting) wake();
    hold.waiting.clear();
  }

  /** Nothing is renewed any more. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  async #flush(): Promise<void> {
    const asked = this.#asked;
    this.#asked = [];
    const { store, clock, leaseMs } = this.#o;
    const sentAt = clock.now();
    let answers: readonly Claim[];
    try {
      answers = await store.claim(
        asked.map(({ of }) => of),
        leaseMs,
      );
    } catch (thrown) {
      const error = storeError("the inbox gave no claim", thrown);
      for (const each of asked) each.reject(error);
      return;
    }
    const late = clock.now() - sentAt >= leaseMs;
    for (const [i, each] of asked.entries()) {
      const answer = answers[i];
      if (answer === undefined || (late && answer.state === "fresh"))
        each.reject(
          storeError(answer === undefined ? "the inbox gave no answer" : "the inbox answered after the lease", null),
        );
      else each.resolve(answer.state === "fresh" ? { state: "fresh", hold: this.#hold(answer, sentAt) } : answer);
    }
  }

  #hold(claim: FreshClaim, sentAt: number): Hold {
    const hold = new Hold(claim, sentAt + this.#o.leaseMs / 2);
    this.#held.set(identity(claim.key), hold);
    if (this.#timer === null) this.#arm(this.#o.leaseMs / 2);
    const now = this.#o.clock.now();
    // The map is in the order of renewal but for what the store took to answer: that must stay small beside the lease.
    if (now - sentAt > this.#o.leaseMs / 4) void this.#renew(hold, now);
    return hold;
  }

  #arm(ms: number): void {
    if (!this.#closed) this.#timer = this.#o.clock.after(Math.max(1, ms), () => this.#due());
  }

  /** An armed timer stays when its claim ends: it finds out at its time whose turn it is then. */
  #due(): void {
    this.#timer = null;
    const now = this.#o.clock.now();
    const due: Hold[] = [];
    for (const hold of this.#held.values()) {
      if (hold.renewAt > now) break;
      due.push(hold);
    }
    for (const hold of due) void this.#renew(hold, now);
    const next = this.#held.values().next().value;
    if (next !== undefined) this.#arm(next.renewAt - now);
  }

  async #renew(hold: Hold, now: number): Promise<void> {
    const { store, leaseMs } = this.#o;
    const at = identity(hold.claim.key);
    hold.renewAt = now + leaseMs / 2;
    // To the end: the map stays in the order of renewal.
    this.#held.delete(at);
    this.#held.set(at, hold);
    try {
      const ours = await store.renew(hold.claim, leaseMs);
      this.#renewalFailed = false;
      // It may have ended meanwhile, in our own way.
      if (ours || this.#held.get(at) !== hold) return;
      hold.fenced = true;
      this.letGo(hold);
      this.#o.fenced(hold);
    } catch (thrown) {
      if (!this.#renewalFailed) this.#o.surfaced(storeError("a claim could not be renewed", thrown).message);
      this.#renewalFailed = true;
    }
  }
}

/** NUL stands in no topic; the producer's length keeps (a, bc) and (ab, c) apart. */
function identity({ topic, producer, id }: InboxKey): string {
  return `${topic}\0${producer.length}\0${producer}${id}`;
}

export function storeError(what: string, thrown: unknown): TallyError {
  if (TallyError.is(thrown) && (thrown.code === "store" || thrown.code === "store-full")) return thrown;
  return new TallyError("store", thrown === null ? what : `${what}: ${describe(thrown)}`, {
    cause: thrown ?? undefined,
    retryable: true,
  });
}
