import {
  type Clock,
  type Outgoing,
  type Sender,
  type SenderEvents,
  TallyError,
  textOf,
  type Verdict,
} from "@tallymq/core/spi";
import { bodyOf, keysOf, properties, withDue } from "./codec.ts";
import type { Link, OutMessage, Sent } from "./driver/driver.ts";
import { classify } from "./errors.ts";
import type { ResolvedOptions } from "./options.ts";
import type { Place, Topology } from "./topology.ts";
import { doubt, faultOf, type Limits, Verdicts } from "./verdicts.ts";

/** What the sender is given at once for one lane. */
interface Handed {
  readonly batch: readonly Outgoing[];
  readonly verdict: (index: number, verdict: Verdict) => void;
  /** Without a verdict, by index. */
  readonly open: Set<number>;
}

/** What travels in one request: indexes of a batch. */
type Part = readonly { readonly index: number; readonly message: OutMessage }[];

export interface SenderOptions {
  readonly topology: Topology;
  readonly clock: Clock;
  readonly messageId: () => string;
  /** Whether the brokers themselves say that they take nothing of the kind for this topic; false while none can be asked. */
  readonly turnedAway: (topic: string) => Promise<boolean>;
  /** The session has closed its connection. */
  readonly ended: (session: AsyncDisposable) => void;
  readonly limits: Limits & Pick<ResolvedOptions, "batchBytes" | "batchMessages">;
}

const OVER: Verdict = unsent("the session is over");
/** The broker's timer counts seconds, and may be as late: what is sooner than that is kept back by the receiver alone. */
export const TIMER_MS = 2_000;

/**
 * A session for sending: one connection to one proxy.
 *
 * What waits for a topic goes in requests of many messages, one after the other in a lane; those of an ordered topic, delayed
 * ones and copies each in a request of their own. So there are at most so many requests under way as there are lanes, and a
 * burst of any size is no burst for the proxy, which collapses under one.
 */
export class RocketSender implements Sender {
  readonly #o: SenderOptions;
  readonly #events: SenderEvents;
  readonly #out: Set<Handed> = new Set();
  readonly #verdicts: Verdicts;
  #link: Link | null = null;
  #over = false;
  #disposed: Promise<void> | null = null;

  constructor(events: SenderEvents, options: SenderOptions) {
    this.#events = events;
    this.#o = options;
    this.#verdicts = new Verdicts(options.clock, () => options.topology.accepted, options.turnedAway);
  }

  use(link: Link): void {
    this.#link = link;
  }

  /** The connection is gone. Its end may come in one piece with its beginning, before there is a link to use. */
  lost(thrown: unknown): void {
    if (this.#over) return;
    this.#over = true;
    const error = classify(thrown, this.#link?.endpoint ?? "the proxy", "open");
    this.#events.lost(error);
    this.#endOpen("the connection was lost before the broker's answer came", thrown);
  }

  lane(message: Outgoing): number {
    return this.#o.topology.laneOf(message);
  }

  /** Nobody chooses the queue but the broker and the key. */
  kept(): null {
    return null;
  }

  send(lane: number, batch: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void): void {
    const place = this.#o.topology.placeOf(lane);
    if (this.#over || place === null) {
      const why = place === null ? unsent("its topic has not been declared in this session") : OVER;
      for (let i = 0; i < batch.length; i++) verdict(i, why);
      return;
    }
    this.#o.topology.left(place);
    const handed: Handed = { batch, verdict, open: new Set(batch.keys()) };
    const refused: [number, TallyError][] = [];
    const parts = this.#parts(place, batch, refused);
    this.#out.add(handed);
    void this.#run(place, handed, parts);
    // After the rest is on its way: a callback may do anything.
    for (const [index, error] of refused) this.#end(handed, index, { kind: "refused", error });
    if (handed.open.size === 0) this.#out.delete(handed);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#close();
    return this.#disposed;
  }

  async #close(): Promise<void> {
    this.#over = true;
    this.#endOpen("the session was closed before the broker's answer came");
    await this.#link?.close();
    this.#o.ended(this);
  }

  #endOpen(why: string, cause?: unknown): void {
    const error = new TallyError("in-doubt", why, { mayArrive: true, retryable: true, cause });
    for (const handed of [...this.#out]) this.#endAll(handed, [...handed.open], { kind: "doubt", error });
    this.#out.clear();
  }

  #parts({ topic, requests }: Place, batch: readonly Outgoing[], refused: [number, TallyError][]): Part[] {
    const { batchBytes, batchMessages } = this.#o.limits;
    const parts: { index: number; message: OutMessage }[][] = [];
    let bytes = 0;
    for (const [index, m] of batch.entries()) {
      const all = properties(m);
      const error = faultOf(m, all, this.#o.limits);
      if (error !== null) {
        refused.push([index, error]);
        continue;
      }
      const last = parts.at(-1);
      if (
        last === undefined ||
        requests === "one" ||
        last.length >= batchMessages ||
        (bytes > 0 && bytes + m.body.length > batchBytes)
      ) {
        parts.push([]);
        bytes = 0;
      }
      bytes += m.body.length;
      parts.at(-1)!.push({ index, message: this.#message(topic, m, all) });
    }
    return parts;
  }

  #message(topic: string, m: Outgoing, all: ReadonlyMap<string, string>): OutMessage {
    const { clock, topology } = this.#o;
    const due = clock.wall() + m.delayMs;
    const delayed = m.delayMs > 0 || m.group !== null;
    return {
      topic,
      messageId: this.#o.messageId(),
      keys: keysOf(m),
      properties: m.delayMs > 0 ? withDue(all, due) : all,
      body: bodyOf(m),
      messageGroup: topology.messageGroupOf(m, topic),
      // The topic takes delayed ones only; a time that has come is no delay.
      bornAt: clock.wall(),
      half: false,
      deliverAt: delayed ? Math.max(clock.wall() - 1_000, due - TIMER_MS) : null,
    };
  }

  /** One request after the other; never rejects. */
  async #run(place: Place, handed: Handed, parts: readonly Part[]): Promise<void> {
    const left = [...parts];
    for (let part = left.shift(); part !== undefined; part = left.shift()) {
      if (this.#over) return;
      const why = await this.#sendPart(place, handed, part, left);
      if (why !== null)
        this.#endAll(
          handed,
          part.map(({ index }) => index),
          why,
        );
    }
    this.#out.delete(handed);
  }

  /** The verdict of all of the part; null where it has none yet, being sent in smaller ones. */
  async #sendPart({ topic }: Place, handed: Handed, part: Part, left: Part[]): Promise<Verdict | null> {
    let answer: Sent;
    try {
      answer = await this.#link!.send(part.map((one) => one.message));
    } catch (thrown) {
      return doubt(topic, classify(thrown, topic, "open").message, thrown);
    }
    const { verdict, ofOne } = await this.#verdicts.of(topic, answer, part.length);
    if (verdict.kind !== "refused" || !ofOne) return verdict;
    if (part.length > 1) {
      // All or none, and which one it was the broker does not say: each goes alone.
      left.unshift(...part.map((one) => [one]));
      return null;
    }
    const { id } = handed.batch[part[0]!.index]!;
    return { kind: "refused", error: new TallyError(verdict.error.code, textOf(verdict.error), { id }) };
  }

  #endAll(handed: Handed, indexes: readonly number[], verdict: Verdict): void {
    for (const index of indexes) this.#end(handed, index, verdict);
  }

  #end(handed: Handed, index: number, verdict: Verdict): void {
    if (handed.open.delete(index)) handed.verdict(index, verdict);
  }
}

function unsent(why: string): Verdict {
  return Object.freeze({ kind: "unsent", error: new TallyError("unsent", why, { retryable: true }) });
}
