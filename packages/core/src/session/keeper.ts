import type { Backoff } from "../backoff.ts";
import type { Clock, Random, Timer } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import type { Events, Role } from "../events.ts";
import { raced } from "../raced.ts";
import { type SessionEffect, type SessionInput, type SessionState, START, step } from "./machine.ts";

export interface KeeperOptions<S extends AsyncDisposable> {
  readonly role: Role;
  /** Named in events: the destination, or topic and group. */
  readonly what: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: Events;
  readonly backoff: Backoff;
  /** One try may take so long, in milliseconds. */
  readonly connectWithin: number;
  /**
   * One try: topology, then the session. Calls `lost` when the session ends by itself, also after it was replaced
   * (then the keeper does not mind).
   */
  open(epoch: number, lost: (error: TallyError) => void, signal: AbortSignal): Promise<S>;
  /** A session may be used from now on. */
  opened(session: S, epoch: number): void;
  /** The session in use is gone; it has been, or is being, disposed of. */
  dropped(epoch: number, error: TallyError): void;
}

/** Keeps one session open: connects, reconnects with full jitter, and hands out each new session. A thin shell around {@link step}. */
export class SessionKeeper<S extends AsyncDisposable> {
  readonly #o: KeeperOptions<S>;
  #state: SessionState;
  #session: S | null = null;
  #timer: Timer | null = null;
  #downSince: number | null;
  #trouble: TallyError | null = null;
  #attempt: AbortController | null = null;
  /** Sessions opened by tries that are still settling, and disposals under way: `close` waits for them. */
  readonly #pending: Set<Promise<unknown>> = new Set();
  readonly #first: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(options: KeeperOptions<S>) {
    this.#o = options;
    this.#first.promise.catch(() => {}); // whoever asks for it gets the error; nobody has to
    this.#downSince = options.clock.now();
    const [state, effects] = START;
    this.#state = state;
    for (const effect of effects) this.#run(effect);
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Monotonic: since when there is no session; null while there is one. */
  get downSince(): number | null {
    return this.#downSince;
  }

  /** Why there is no session, as far as a try or the end of the last one has said; null while there is one. */
  get trouble(): TallyError | null {
    return this.#trouble;
  }

  /** How the first try ended. Rejects only with what waiting cannot mend (not `retryable`); the keeper goes on regardless. */
  get first(): Promise<void> {
    return this.#first.promise;
  }

  /** Opens a successor at once. The replaced session is the caller's from here: no one else disposes of it. */
  replace(): S | null {
    const session = this.#state.is === "open" ? this.#session : null;
    if (session !== null) {
      this.#session = null;
      this.#downSince = this.#o.clock.now();
      this.#input({ type: "replace" });
    }
    return session;
  }

  /** Disposes of the session in use and ends all tries. Idempotent. */
  async close(): Promise<void> {
    this.#input({ type: "close" });
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
  }

  #input(input: SessionInput): void {
    const [state, effects] = step(this.#state, input, this.#o.backoff);
    this.#state = state;
    // An effect reaches users' code (events, `opened`, `dropped`), which may close or lose the session in that very call:
    // what the input asked for after that is out of date.
    for (const effect of effects) if (this.#state === state) this.#run(effect);
  }

  #run(effect: SessionEffect): void {
    const o = this.#o;
    switch (effect.do) {
      case "connect":
        return this.#track(this.#connect(effect.epoch));
      case "wait":
        this.#trouble = effect.error;
        o.events.emit({
          type: "reconnect",
          role: o.role,
          what: o.what,
          attempt: effect.tries,
          afterMs: Math.round(effect.ms),
          error: effect.error,
        });
        // A listener of that event may just have closed it.
        if (this.#state.is === "waiting") this.#timer = o.clock.after(effect.ms, () => this.#input({ type: "timer" }));
        return;
      case "use":
        this.#downSince = null;
        this.#trouble = null;
        o.events.emit({ type: "session-opened", role: o.role, what: o.what, epoch: effect.epoch, tries: effect.tries });
        if (this.#session !== null) o.opened(this.#session, effect.epoch);
        return;
      case "drop":
        o.events.emit({ type: "session-lost", role: o.role, what: o.what, epoch: effect.epoch, error: effect.error });
        this.#dispose(this.#session);
        this.#session = null;
        this.#downSince = o.clock.now();
        return o.dropped(effect.epoch, effect.error);
      case "discard":
        return; // #connect disposes of it: the session never came into use
      case "end":
        this.#timer?.cancel();
        this.#attempt?.abort(new TallyError("closed", "the session is closed"));
        this.#dispose(this.#session);
        this.#session = null;
    }
  }

  async #connect(epoch: number): Promise<void> {
    const o = this.#o;
    const attempt = new AbortController();
    this.#attempt = attempt;
    const late = new TallyError("unreachable", `${o.what}: no session within ${o.connectWithin} ms`, {
      retryable: true,
    });
    const timer = o.clock.after(o.connectWithin, () => attempt.abort(late));
    // The session can be lost in the very tick in which it opens, before its promise is read here.
    let lostEarly: TallyError | null = null;
    try {
      const opening = o.open(
        epoch,
        (error) => {
          lostEarly ??= error;
          this.#input({ type: "lost", epoch, error, unit: o.random.unit() });
        },
        attempt.signal,
      );
      const session = await raced(opening, attempt.signal, (unwanted) => this.#dispose(unwanted));
      if (lostEarly !== null || this.#state.is !== "connecting" || this.#state.epoch !== epoch) {
        this.#dispose(session);
        if (lostEarly !== null) throw lostEarly;
        return;
      }
      this.#session = session;
      this.#input({ type: "opened", epoch });
      this.#first.resolve();
    } catch (thrown) {
      const error = asError(o.what, thrown);
      if (error.retryable) this.#first.resolve();
      else this.#first.reject(error);
      this.#input({ type: "failed", epoch, error, unit: o.random.unit() });
    } finally {
      timer.cancel();
      // The signal was for this try: a session that came of it must not see it fire at a later close.
      if (this.#attempt === attempt) this.#attempt = null;
    }
  }

  #dispose(session: S | null): void {
    if (session !== null) this.#track((async () => session[Symbol.asyncDispose]())());
  }

  #track(work: Promise<unknown>): void {
    const settled = work.catch(() => {}).finally(() => this.#pending.delete(settled));
    this.#pending.add(settled);
  }
}

function asError(what: string, thrown: unknown): TallyError {
  if (TallyError.is(thrown)) return thrown;
  return new TallyError("unreachable", `${what}: ${describe(thrown)}`, { retryable: true, cause: thrown });
}
