import type { TallyError } from "../error.ts";
import type { Hold } from "../inbox/claims.ts";
import { idOf } from "../message.ts";
import type { Delivery, Settlement } from "../port/receiving.ts";
import type { AwayKeys } from "./away.ts";
import type { LaneItem } from "./lanes.ts";
import type { Context } from "./options.ts";
import type { ReplaySource } from "./replay-source.ts";
import type { TopicSubscription } from "./subscription.ts";

/** What a delivery came by, and is settled by: a receiver session, or the replay of a parked message. */
export interface Source {
  readonly subscription: TopicSubscription;
  readonly away: AwayKeys;
  /** Nothing of it starts any more; what runs is let finish. */
  readonly leaving: boolean;
  /** Whether a settlement of this delivery would still count. */
  holds(delivery: Delivery): boolean;
  settle(settlement: Settlement): void;
}

/**
 * One delivery in hand, from its arrival to its settlement (or to the end of its session, which unsettles it).
 * Linked into {@link Lanes}; everything that only a failing delivery needs is null until then.
 */
export class Job implements LaneItem<Job> {
  readonly subscription: TopicSubscription;
  readonly session: Source;
  /** Not null: a parked message, run by a person's word. */
  readonly replay: ReplaySource | null;
  readonly delivery: Delivery;
  readonly keys: Map<string, Job>;
  readonly key: string | null;
  /** The message's own id, or what the consumer's `id` made of it. */
  id: string | null;
  /** Our claim in the inbox, while we have one. */
  claim: Hold | null = null;
  /** Runs without an inbox: it has no identity. */
  unguarded = false;
  /** The head of a key that can only be tried again, in place; surfaced. */
  blocked = false;
  /** Attempts started so far. */
  attempts = 0;
  next: Job | null = null;
  behind: Job | null = null;
  last: Job | null = null;
  /** The attempt that is under way and within its deadline. */
  running: Attempt | null = null;
  /** The attempt that missed its deadline and still runs. */
  late: Attempt | null = null;
  /** Called once, when `late` has come to its end. */
  onLateEnd: (() => void) | null = null;
  /** Who waits for the attempt's end; null for the first one, which has no retry machinery yet. */
  onEnd: ((error: TallyError | null) => void) | null = null;

  constructor(session: Source, delivery: Delivery, replay: ReplaySource | null = null) {
    this.subscription = session.subscription;
    this.session = session;
    this.replay = replay;
    this.delivery = delivery;
    this.keys = replay?.keys ?? this.subscription.keys;
    this.key = delivery.message.key;
    this.id = idOf(delivery.message);
  }

  /** Whether it can still be settled. */
  get held(): boolean {
    return this.session.holds(this.delivery);
  }

  /** Nothing more of it begins here: it cannot be settled any more, or its session is being left. */
  get leaving(): boolean {
    return !this.held || this.session.leaving;
  }

  /** Its key must not be overtaken. */
  get inOrder(): boolean {
    return this.key !== null && this.subscription.topic.ordered;
  }
}

/** One run of the handler, and what the handler sees of it. The signal is made when it is first asked for. */
export class Attempt implements Context {
  readonly job: Job;
  readonly attempt: number;
  /** The transaction of a `tx` consumer's handler; its context's type says whether there is one. */
  tx: unknown = undefined;
  startedAt = 0;
  /** The handler was called. */
  ran = false;
  /** `off`: the handler has returned, and its transaction is being committed. `over`: whatever its handler still does. */
  lane: "on" | "off" | "over" = "on";
  /** Links of {@link Deadlines}. */
  listed = false;
  previous: Attempt | null = null;
  next: Attempt | null = null;
  #controller: AbortController | null = null;
  #reason: TallyError | null = null;

  constructor(job: Job, attempt: number) {
    this.job = job;
    this.attempt = attempt;
  }

  get topic(): string {
    return this.job.delivery.message.topic;
  }
  get group(): string {
    return this.job.subscription.group;
  }
  get id(): string | null {
    return this.job.id;
  }
  get key(): string | null {
    return this.job.key;
  }
  get producer(): string | null {
    return this.job.delivery.message.producer;
  }
  get type(): string | null {
    return this.job.delivery.message.type;
  }
  get time(): number | null {
    return this.job.delivery.message.time;
  }
  get correlationId(): string | null {
    return this.job.delivery.message.correlationId;
  }
  get causationId(): string | null {
    return this.job.delivery.message.causationId;
  }
  get headers(): Readonly<Record<string, string>> {
    return this.job.delivery.message.headers;
  }
  get deliveries(): number | null {
    return this.job.delivery.count;
  }
  get native(): unknown {
    return this.job.delivery.message.native;
  }
  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#reason !== null) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Fires the signal. The first reason stays. */
  abort(reason: TallyError): void {
    this.#reason ??= reason;
    this.#controller?.abort(this.#reason);
  }
}
