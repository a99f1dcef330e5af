import { type Clock, sleep } from "@tallymq/core/spi";
import { type InMessage, type Link, OK, type Received, StatusError } from "./driver/driver.ts";

export interface SourceOptions {
  readonly topic: string;
  readonly group: string;
  readonly ordered: boolean;
  readonly invisible: number;
  readonly receiveWait: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  stopped(): boolean;
  link(): Link | null;
  /** How many more the session can use. */
  room(): number;
  came(messages: readonly InMessage[]): void;
  /** No other try would bring anything. */
  failed(thrown: unknown): void;
  /** It gets nothing, and asks again. Said once, until it is answered as it should be or refused for another reason. */
  surfaced(text: string): void;
}

const NOTHING_FOUND = 40_401;
/** The broker gives no more at once. */
const MOST = 32;
/**
 * Of a FIFO topic. A queue hands out nothing while something of it is out, and if a message of a batch comes again, what is
 * behind it in the batch does too: small batches, and more requests.
 */
const ORDERED = { most: 8, requests: 8 } as const;
/** Between a failure and the next try. */
const PAUSE_MS = 1_000;

/** One topic that a session reads: asks for what there is room for, and waits. */
export class Source {
  readonly #o: SourceOptions;
  readonly #requests: number;
  readonly #most: number;
  #waiting = 0;
  #asked = 0;
  #idle: PromiseWithResolvers<void> | null = null;
  /** The code of the refusal that was last said; null: since then it was answered. */
  #said: number | null = null;

  constructor(options: SourceOptions) {
    this.#o = options;
    this.#requests = options.ordered ? ORDERED.requests : 1;
    this.#most = options.ordered ? ORDERED.most : MOST;
  }

  fill(): void {
    while (this.#waiting < this.#requests && !this.#o.stopped() && !this.#o.signal.aborted) {
      const most = Math.min(this.#most, this.#o.room() - this.#asked);
      if (most < 1) return;
      this.#waiting++;
      this.#asked += most;
      void this.#ask(most);
    }
  }

  /** After `stopped`: none of its requests is under way any more. */
  idle(): Promise<void> {
    if (this.#waiting === 0) return Promise.resolve();
    this.#idle ??= Promise.withResolvers<void>();
    return this.#idle.promise;
  }

  /** Never rejects. */
  async #ask(most: number): Promise<void> {
    const { topic, group, invisible, receiveWait, signal, clock } = this.#o;
    const wrong = await this.#receive({ topic, group, most, invisibleMs: invisible, waitMs: receiveWait });
    // A broker that is away is asked again after a while, in the same session; it is the proxy that answers.
    if (wrong) await sleep(clock, PAUSE_MS, signal).catch(() => {});
    this.#waiting--;
    this.#asked -= most;
    if (this.#waiting === 0) this.#idle?.resolve();
    this.fill();
  }

  async #receive(ask: Parameters<Link["receive"]>[0]): Promise<boolean> {
    const { signal } = this.#o;
    let got: Received;
    try {
      got = await this.#o.link()!.receive(ask, signal);
    } catch {
      // The connection's end is the link's to tell.
      return true;
    }
    if (got.messages.length > 0) this.#o.came(got.messages);
    const { status } = got;
    if (status.code === 40_100 || status.code === 40_403) this.#o.failed(new StatusError(status));
    const refused = status.code !== OK && status.code !== NOTHING_FOUND;
    if (refused && this.#said !== status.code)
      this.#o.surfaced(`${ask.topic} gives ${ask.group} nothing: ${new StatusError(status).message}`);
    this.#said = refused ? status.code : null;
    return refused;
  }
}
