import type { Job } from "./attempt.ts";
import type { Failures } from "./failures.ts";
import type { TopicSubscription } from "./subscription.ts";
import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { storeError } from "../inbox/claims.ts";
import { BY_PLACE } from "../inbox/identity.ts";
import { fingerprint } from "../compress/fingerprint.ts";
import type { Runtime } from "../runtime.ts";
import type { FreshClaim, InboxKey, InboxStore, ParkResult } from "../stores.ts";
import { parkedCopy } from "../park/copy.ts";

/** What {@link Parking} asks of who runs the attempts. */
export interface ParkingHands {
  readonly failures: Failures;
  /** Off its lane. */
  leave(): void;
  ack(job: Job): void;
  /** Its turn anew: it asks for its claim again. */
  again(job: Job): void;
  /** Its identity is parked with another body. */
  conflict(job: Job): void;
  rested(): void;
}

/** A topic whose parked message found no room: nothing new of it begins. */
interface Full {
  /** Those that have met the bound and have not got past it. */
  readonly at: Set<Job>;
  /** Those that wait for them. */
  readonly waiting: Set<() => void>;
}

/** Between two looks whether there is room again. A replay or a purge, here or elsewhere, makes it. */
export const FULL_POLL_MS = 1_000;

/**
 * Copies messages of parked keys into the inbox's store.
 *
 * A key is parked while it has messages there. Its failed head is stored in the transaction that ends its claim; what
 * comes later meets the key in the transaction that would have made its claim (`Claim` `parked`). So there is no moment
 * between a look and a claim, on whichever instance:
 *
 *     A   park(m1): m1's row, m1's claim ended  │  commit
 *     B                                claim(m2) → `parked`, or `fresh` if it came before that commit: then the broker had
 *                                                  given out m2 while m1 was unsettled, which it does for nobody
 *
 * Acked is what is durable in the store, and only then. Killed between the two, the delivery comes again, meets its key
 * parked, and is parked as the same. Between the claim's answer and `park` a replay may have emptied the key: the store
 * says `free`, and the claim is asked for anew.
 *
 * At the store's bound the whole topic stands still: what has not begun waits off the lanes, unsettled, until what met the
 * bound is past it. Otherwise other keys would run on while deliveries of parked ones use up the credit, one by one.
 */
export class Parking {
  readonly #group: string;
  readonly #runtime: Runtime;
  readonly #store: InboxStore<unknown>;
  readonly #hands: ParkingHands;
  readonly #full: Map<TopicSubscription, Full> = new Map();
  #open = 0;

  constructor(group: string, runtime: Runtime, store: InboxStore<unknown>, hands: ParkingHands) {
    this.#group = group;
    this.#runtime = runtime;
    this.#store = store;
    this.#hands = hands;
  }

  /** Messages that are being stored. */
  get size(): number {
    return this.#open;
  }

  /**
   * The head of a key has failed.
   * @throws TallyError `store`
   */
  async head(job: Job, claim: FreshClaim, reason: string): Promise<ParkResult> {
    const result = await this.#park(job, claim.key, reason, claim);
    if (result === "full") this.#meetsBound(job);
    if (result === "parked")
      this.#runtime.events.emit({ type: "key-parked", ...this.#about(job), key: job.key!, reason });
    return result;
  }

  /** Its key is parked: it is stored behind what is there. */
  behind(job: Job, key: InboxKey): void {
    this.#open++;
    void this.#park(job, key, "behind a parked message of its key", null)
      .then(
        (result) => {
          if (result === "parked") {
            this.#runtime.events.emit({ type: "parked-behind", ...this.#about(job), key: job.key! });
            this.#hands.ack(job);
          } else if (result === "conflict") {
            this.#hands.conflict(job);
          } else if (result === "full") {
            this.#meetsBound(job);
            this.#hands.failures.hold(job, FULL_POLL_MS);
          } else {
            this.ended(job);
            this.#hands.again(job);
          }
        },
        (error: TallyError) => this.#hands.failures.add(job, error),
      )
      .finally(() => {
        this.#open--;
        this.#hands.rested();
      });
  }

  /**
   * A delivery without an identity has no claim that could look. What runs has been looked for before; what is parked gets
   * an identity for its place there: should its ack be lost, it is parked twice, as it would have run twice.
   */
  unidentified(job: Job, start: () => void): void {
    this.#open++;
    void this.#store
      .parkedKeys(this.#group, job.subscription.topic.name, [job.key!])
      .then(
        (parked) => {
          if (!parked.has(job.key!)) {
            // Whether it runs or is tried again for ever, it waits for room no more.
            this.ended(job);
            return start();
          }
          this.#hands.leave();
          const bytes = Array.from(this.#runtime.random.bytes(16), (byte) => byte.toString(16).padStart(2, "0"));
          this.behind(job, {
            group: this.#group,
            topic: job.subscription.topic.name,
            producer: BY_PLACE,
            id: `unidentified ${bytes.join("")}`,
            bodyHash: fingerprint(job.delivery.message),
          });
        },
        (thrown: unknown) => {
          this.#hands.leave();
          this.#hands.failures.add(job, storeError("the inbox did not say what is parked", thrown));
        },
      )
      .finally(() => {
        this.#open--;
        this.#hands.rested();
      });
  }

  /** Whether this one has to wait since its topic stands still; it waits off the lanes then. */
  waits(job: Job): boolean {
    const full = this.#full.get(job.subscription);
    if (full === undefined || full.at.has(job) || job.replay !== null) return false;
    full.waiting.add(this.#hands.failures.hold(job, Number.POSITIVE_INFINITY));
    return true;
  }

  /** It is past the bound, or gone. With the last of its topic the rest goes on. */
  ended(job: Job): void {
    if (this.#full.size === 0) return;
    const full = this.#full.get(job.subscription);
    if (full === undefined || !full.at.delete(job) || full.at.size > 0) return;
    this.#full.delete(job.subscription);
    this.#runtime.events.emit({ type: "parked-room", topic: job.subscription.topic.name, group: this.#group });
    for (const wake of full.waiting) wake();
  }

  #meetsBound(job: Job): void {
    let full = this.#full.get(job.subscription);
    if (full === undefined) {
      this.#full.set(job.subscription, (full = { at: new Set(), waiting: new Set() }));
      this.#runtime.events.emit({ type: "parked-full", ...this.#about(job), key: job.key! });
    }
    full.at.add(job);
  }

  async #park(job: Job, of: InboxKey, reason: string, head: FreshClaim | null): Promise<ParkResult> {
    failpoint("park.parking");
    try {
      const result = await this.#store.park(parkedCopy(of, job.key!, job.delivery.message, reason), head);
      failpoint("park.parked");
      return result;
    } catch (thrown) {
      throw storeError("the inbox parked nothing", thrown);
    }
  }

  #about(job: Job): { readonly topic: string; readonly group: string; readonly id: string | null } {
    return { topic: job.subscription.topic.name, group: this.#group, id: job.id };
  }
}
