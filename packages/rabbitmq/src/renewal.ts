import {
  type Backoff,
  type Clock,
  describe,
  fullJitter,
  LONGEST_TIMER,
  type Random,
  sleep,
  TallyError,
  raced,
} from "@tallymq/core/spi";
import type { Login } from "./credentials.ts";

export interface RenewalPorts {
  readonly clock: Clock;
  readonly random: Random;
  /** Named in texts: the endpoint. */
  readonly where: string;
  ask(signal: AbortSignal): Promise<Login>;
  /** Tells the broker over the open connection; resolves with its answer. */
  update(password: string): Promise<void>;
  surfaced(text: string): void;
  /** They have run out: the connection is to end, so that the next one asks anew. Once, and the last call. */
  expired(error: TallyError): void;
}

/** One try: the user's function and the broker's answer. */
const TRY_MS = 10_000;
const BACKOFF: Backoff = { min: 1_000, max: 30_000 };

/**
 * Renews the credentials of one open connection, before they run out and for as long as it is open.
 *
 * It sleeps until `renewAt`, then tries until the broker has taken new ones, with back-off and full jitter, each failure
 * surfaced. What it does meanwhile, `endsAt` comes: a function or a broker that does not answer (an alarm: it reads
 * nothing) keeps no connection open with credentials that are no good. A broker that refuses the new ones closes the
 * connection itself.
 */
export class Renewal {
  readonly #ports: RenewalPorts;
  readonly #over: AbortController = new AbortController();

  constructor(login: Login, ports: RenewalPorts) {
    this.#ports = ports;
    // It rejects with the reason that `stop` gave, which nobody needs.
    this.#run(login).catch(() => {});
  }

  /** The connection has ended. Idempotent. */
  stop(): void {
    this.#over.abort();
  }

  async #run(login: Login): Promise<void> {
    for (let { lasts } = login; lasts !== null;) {
      const end = new AbortController();
      const expiring = this.#until(lasts.endsAt, end.signal).then(
        () => this.#expire(),
        () => {},
      );
      try {
        await this.#until(lasts.renewAt, this.#over.signal);
        lasts = (await this.#renew(lasts.endsAt)).lasts;
      } finally {
        end.abort();
        await expiring;
      }
    }
  }

  async #renew(endsAt: number): Promise<Login> {
    const { clock, random, where, surfaced } = this.#ports;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once();
      } catch (thrown) {
        this.#over.signal.throwIfAborted();
        const left = Math.max(0, Math.round((endsAt - clock.now()) / 1_000));
        surfaced(
          `${where}: the credentials were not renewed (try ${attempt}; they run out in ${left} s): ${describe(thrown)}`,
        );
      }
      await sleep(clock, Math.max(1, fullJitter(BACKOFF, attempt, random)), this.#over.signal);
    }
  }

  async #once(): Promise<Login> {
    const { clock, where, ask, update } = this.#ports;
    const late = new AbortController();
    const timer = clock.after(TRY_MS, () =>
      late.abort(new TallyError("unreachable", `${where}: no answer within ${TRY_MS} ms`, { retryable: true })),
    );
    const signal = AbortSignal.any([late.signal, this.#over.signal]);
    try {
      const login = await raced(ask(signal), signal);
      await raced(update(login.password), signal);
      return login;
    } finally {
      timer.cancel();
      late.abort(); // what the user's function still does is for nobody
    }
  }

  #expire(): void {
    if (this.#over.signal.aborted) return;
    this.stop();
    const { where, expired } = this.#ports;
    expired(
      new TallyError("unauthorized", `${where}: the credentials ran out before they were renewed`, { retryable: true }),
    );
  }

  /** Longer than a timer can be: in parts. */
  async #until(at: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    for (let left = at - clock.now(); left > 0; left = at - clock.now())
      await sleep(clock, Math.min(left, LONGEST_TIMER), signal);
  }
}
