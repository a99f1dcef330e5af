import type { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import type { Delivery, Receiver, ReceiverEvents, Settlement } from "../port/receiving.ts";
import type { Source } from "./attempt.ts";
import { AwayKeys } from "./away.ts";
import type { Seat } from "./members.ts";
import type { TopicSubscription } from "./subscription.ts";

// A settlement waits this many turns of the microtask queue at most for others that end in the same tick.
const MOST_HOPS = 8;

/**
 * One receiver session of a topic: what came by it can be settled only by it, and only while it lives.
 *
 * Settlements of one tick go to the receiver as one batch, so that it can merge acks. A handler's promise settles one to
 * three microtasks after what it waited for; so the batch is handed over when a turn of the microtask queue has added
 * nothing to it.
 */
export class ReceiverSession implements Source, AsyncDisposable {
  readonly subscription: TopicSubscription;
  readonly away: AwayKeys;
  /** Nothing of it starts any more; what runs is let finish. */
  leaving = false;
  readonly #lost: (error: TallyError) => void;
  #receiver: Receiver | null = null;
  readonly #seat: Seat | null;
  #alive = true;
  /** Deliveries before the session came into use: they wait, since the try may still fail. Null from then on. */
  #early: (readonly Delivery[])[] | null = [];
  /** By lane, the newest epoch that was taken away. */
  #revoked: Map<number, number> | null = null;
  #batch: Settlement[] = [];
  #scheduled = false;
  #seen = 0;
  #hops = 0;

  constructor(
    subscription: TopicSubscription,
    now: () => number,
    lost: (error: TallyError) => void,
    seat: Seat | null = null,
  ) {
    this.subscription = subscription;
    this.away = new AwayKeys(now);
    this.#lost = lost;
    this.#seat = seat;
  }

  /** A plain object of closures: an adapter may call them without their receiver. */
  readonly events: ReceiverEvents = {
    deliver: (batch) => {
      if (!this.#alive) return;
      if (this.#early === null) this.subscription.deliver(this, batch);
      else this.#early.push(batch);
    },
    revoking: (epoch, lanes) => this.subscription.revoking(this, epoch, lanes),
    revoked: (epoch, lanes) => {
      this.#revoked ??= new Map();
      for (const lane of lanes) this.#revoked.set(lane, Math.max(epoch, this.#revoked.get(lane) ?? epoch));
      this.subscription.forget();
    },
    unsettled: (batch, error) => this.subscription.unsettled(batch.length, error),
    gap: (lane, from, to) => this.subscription.gap(lane, from, to),
    lost: (error) => {
      this.end();
      this.#lost(error);
    },
    surfaced: (what) => this.subscription.surfaced(what),
  };

  opened(receiver: Receiver): void {
    this.#receiver = receiver;
  }

  /** The session is in use: what came early is handed on. */
  use(): void {
    const early = this.#early ?? [];
    this.#early = null;
    for (const batch of early) this.subscription.deliver(this, batch);
  }

  /** Whether a settlement of this delivery would still count. */
  holds(delivery: Delivery): boolean {
    if (!this.#alive) return false;
    return this.#revoked === null || (this.#revoked.get(delivery.lane) ?? -1) < delivery.epoch;
  }

  settle(settlement: Settlement): void {
    this.#batch.push(settlement);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(this.#hop);
  }

  flush(): void {
    const batch = this.#batch;
    this.#scheduled = false;
    this.#seen = this.#hops = 0;
    if (batch.length === 0) return;
    this.#batch = [];
    if (!this.#alive) return;
    failpoint("settlement.due");
    this.#receiver?.settle(batch);
    failpoint("settlement.handed");
  }

  /** No more deliveries. */
  async stop(): Promise<void> {
    await this.#receiver?.stop();
  }

  /** From here nothing of this session can be settled, and nothing of it is taken in. */
  end(): void {
    this.#alive = false;
    this.#early = null;
    this.#batch = [];
    this.away.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.flush();
    this.end();
    // Whoever fails in leaving its seat has left it with the connection.
    await Promise.all([this.#receiver?.[Symbol.asyncDispose](), this.#seat?.leave().catch(() => {})]);
  }

  readonly #hop = (): void => {
    if (this.#batch.length > this.#seen && this.#hops < MOST_HOPS) {
      this.#seen = this.#batch.length;
      this.#hops++;
      queueMicrotask(this.#hop);
    } else {
      this.flush();
    }
  };
}
