import { atMost, sleep } from "../clock.ts";
import { TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { SessionKeeper } from "../session/keeper.ts";
import type { Delivery, Receiver } from "../port/receiving.ts";
import type { TopicPlan } from "../port/topic-plan.ts";
import { DEAD_LETTERS } from "./letter.ts";

/** Milliseconds without a session, after which a walk gives up; and for which it waits for the end of its own. */
const PATIENCE = 30_000;
/** Milliseconds: when nothing came for so long, somebody else has what should have come. */
const QUIET = 5_000;
/** Milliseconds that a broker has to put back what was in hand, and between two looks at whether it has. */
const RETURN_WITHIN = 2_000;
const ASK_AGAIN = 10;

interface Session extends AsyncDisposable {
  readonly receiver: Receiver | null;
  /** In the queue when it began. */
  readonly there: number;
  /** Deliveries out at once, at most. */
  readonly credit: number;
  readonly arrived: Delivery[];
}

export interface WalkOptions {
  readonly runtime: Runtime;
  readonly plan: TopicPlan;
  /** Deliveries in hand at once, at most. */
  readonly hold: number;
  readonly signal: AbortSignal;
}

/**
 * - `end`: all have been seen, or nothing more comes.
 * - `full`: all that it may hold is in hand. It can go on when some of that has been acked.
 * - `again`: nothing is in hand any more, and the first one comes next.
 */
export type Instead = "end" | "full" | "again";

/**
 * One walk through a queue of dead letters, from its front to what was its end when the walk began. What is not acked is in
 * hand until the walk is disposed of, and then where it was.
 *
 * How it knows the end: it asks the broker how many there are before it takes any, and the broker hands them out in their
 * order. When it has seen so many it is done; what came meanwhile lies behind them. Letters that somebody else holds are
 * counted and do not come, so it also ends when nothing has come for five seconds.
 *
 * A session that is lost gives everything back, so the walk begins again at the front (`"again"`), with as many fewer to
 * see as have been acked.
 */
export class Walk implements AsyncDisposable {
  readonly #o: WalkOptions;
  readonly #keeper: SessionKeeper<Session>;
  #session: Session | null = null;
  /** Of the letters there at the first session; null before. */
  #first: number | null = null;
  /** Acked, but for acks of which a session said that they had not left. */
  #acked = 0;
  #toSee = 0;
  /** Of the session in use. */
  readonly #inHand: Set<Delivery> = new Set();
  #restarted = false;
  #fatal: TallyError | null = null;
  #since: number;
  #wake: (() => void) | null = null;

  constructor(options: WalkOptions) {
    this.#o = options;
    const { runtime, plan, signal } = options;
    this.#since = runtime.clock.now();
    signal.addEventListener("abort", () => this.#stir(), { once: true });
    this.#keeper = new SessionKeeper({
      role: "receive",
      what: `${plan.name} / ${DEAD_LETTERS}`,
      clock: runtime.clock,
      random: runtime.random,
      events: runtime.events,
      backoff: runtime.reconnect,
      connectWithin: runtime.connectWithin,
      open: (_epoch, lost, signal) => this.#open(lost, signal),
      opened: (session) => this.#opened(session),
      dropped: () => this.#dropped(),
    });
    this.#keeper.first.catch((error: TallyError) => {
      this.#fatal = error;
      this.#stir();
    });
  }

  /** Letters there when it began that it has not acked. */
  get left(): number {
    return Math.max(0, (this.#first ?? 0) - this.#acked);
  }

  get acked(): number {
    return this.#acked;
  }

  /** The next letter; or what there is instead, see {@link Instead}. */
  async next(): Promise<Delivery | Instead> {
    const { clock } = this.#o.runtime;
    const { signal } = this.#o;
    for (;;) {
      if (signal.aborted) throw signal.reason;
      if (this.#fatal !== null) throw this.#fatal;
      if (this.#restarted) {
        this.#restarted = false;
        return "again";
      }
      const session = this.#session;
      if (session !== null) {
        if (this.#toSee === 0) return "end";
        const delivery = session.arrived.shift();
        if (delivery !== undefined) {
          this.#toSee--;
          this.#inHand.add(delivery);
          return delivery;
        }
        if (this.#inHand.size >= this.#o.hold) return "full";
      }
      const left = this.#since + (session === null ? PATIENCE : QUIET) - clock.now();
      if (left <= 0) {
        if (session !== null) return "end";
        throw new TallyError("unreachable", `${this.#o.plan.name}: no session for ${PATIENCE} ms`, { retryable: true });
      }
      await this.#stirred(left);
    }
  }

  /** For good; false: its session is gone, and it comes again. */
  ack(delivery: Delivery): boolean {
    const session = this.#session;
    const receiver = session?.receiver ?? null;
    if (session === null || receiver === null || !this.#inHand.has(delivery)) return false;
    // While all of its credit was in hand nothing could come: the quiet begins now.
    if (this.#inHand.size + session.arrived.length >= session.credit) this.#since = this.#o.runtime.clock.now();
    this.#inHand.delete(delivery);
    receiver.settle([{ kind: "ack", delivery }]);
    this.#acked++;
    return true;
  }

  /** Gives back what is in hand; resolves when the broker has it in the queue again. */
  async [Symbol.asyncDispose](): Promise<void> {
    const held = this.#session === null ? 0 : this.#inHand.size + this.#session.arrived.length;
    await atMost(this.#o.runtime.clock, PATIENCE, this.#keeper.close());
    if (held > 0 && !this.#o.signal.aborted) await this.#returned(held);
  }

  /** A broker may take a moment for it, in which another look would find an empty queue. Somebody else may be faster, too. */
  async #returned(held: number): Promise<void> {
    const { runtime, plan } = this.#o;
    const stop = new AbortController();
    const timer = runtime.clock.after(RETURN_WITHIN, () => stop.abort());
    try {
      while ((await runtime.transport.admin.backlog(plan.name, DEAD_LETTERS, stop.signal)) < held)
        await sleep(runtime.clock, ASK_AGAIN, stop.signal);
    } catch {
      // Then the next look may find fewer.
    }
    timer.cancel();
  }

  async #open(lost: (error: TallyError) => void, signal: AbortSignal): Promise<Session> {
    const { runtime, plan, hold } = this.#o;
    const { admin } = runtime.transport;
    await admin.declare([plan], signal);
    const there = await admin.backlog(plan.name, DEAD_LETTERS, signal);
    const arrived: Delivery[] = [];
    const credit = Math.min(hold, there);
    if (there === 0) return { receiver: null, there, credit, arrived, [Symbol.asyncDispose]: async () => {} };
    const suffix = Array.from(runtime.random.bytes(3), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const receiver = await runtime.transport.openReceiver(
      {
        topic: plan,
        group: DEAD_LETTERS,
        credit,
        consumer: `${runtime.service}-${runtime.run.slice(0, 8)}-${suffix}`,
      },
      {
        deliver: (batch) => {
          arrived.push(...batch);
          this.#since = runtime.clock.now();
          this.#stir();
        },
        revoking: () => Promise.resolve(),
        revoked: () => {},
        unsettled: (batch) => {
          this.#acked -= batch.length;
          this.#toSee += batch.length;
        },
        gap: () => {},
        lost,
        surfaced: (text) => runtime.events.emit({ type: "surfaced", what: plan.name, text }),
      },
      signal,
    );
    return { receiver, there, credit, arrived, [Symbol.asyncDispose]: () => receiver[Symbol.asyncDispose]() };
  }

  #opened(session: Session): void {
    this.#restarted = this.#first !== null;
    this.#first ??= session.there;
    this.#session = session;
    this.#toSee = Math.min(session.there, this.left);
    this.#inHand.clear();
    this.#since = this.#o.runtime.clock.now();
    this.#stir();
  }

  #dropped(): void {
    this.#session = null;
    this.#since = this.#o.runtime.clock.now();
    this.#stir();
  }

  #stir(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  /** Resolves when something has happened, or after `ms`. */
  #stirred(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#o.runtime.clock.after(ms, () => this.#stir());
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
