import { type Clock, type Outgoing, type Sender, type SenderEvents, TallyError, type Verdict } from "@tallymq/core/spi";
import { bodyOf, keysOf, properties, propertyBytes, withDue } from "./codec.ts";
import { type Link, OK, type OutMessage, type Sent, type Status } from "./driver/driver.ts";
import { classify, meaningOf } from "./errors.ts";
import type { ResolvedOptions } from "./options.ts";
import type { Place, Topology } from "./topology.ts";

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
  readonly limits: Pick<ResolvedOptions, "maxBytes" | "batchBytes" | "batchMessages">;
}

const OVER: Verdict = unsent("the session is over");
/** What the proxy takes of properties, less what it adds itself. */
const MOST_PROPERTIES = 15 * 1024;
/**
 * An answer that looks final comes for as long as a broker is away, and up to 20 s longer, from old caches: when it has come
 * for so long the brokers are asked.
 */
const CACHED_MS = 30_000;
const LATER_MS = 1_000;
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
  /** Since when a topic's sends are answered with what looks final; monotonic. */
  readonly #turnedAway: Map<string, number> = new Map();
  #link: Link | null = null;
  #over = false;
  #disposed: Promise<void> | null = null;

  constructor(events: SenderEvents, options: SenderOptions) {
    this.#events = events;
    this.#o = options;
  }

  use(link: Link): void {
    this.#link = link;
  }

  /** The connection is gone. */
  lost(thrown: unknown): void {
    if (this.#over || this.#link === null) return;
    this.#over = true;
    const error = classify(thrown, this.#link.endpoint, "open");
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
      const error = this.#fault(m, all);
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
      deliverAt: delayed ? Math.max(clock.wall() - 1_000, due - TIMER_MS) : null,
    };
  }

  #fault(m: Outgoing, all: ReadonlyMap<string, string>): TallyError | null {
    const { maxBytes } = this.#o.limits;
    const { id } = m;
    if (m.body.length > maxBytes)
      return new TallyError("too-large", `${id} has ${m.body.length} bytes; rocketmq() takes ${maxBytes}`, { id });
    const [property] = Object.keys(m.native ?? {});
    if (property !== undefined)
      return new TallyError(
        "bad-message",
        `native has no property ${JSON.stringify(property.slice(0, 40))} on RocketMQ; there is none yet`,
        { id },
      );
    const bytes = propertyBytes(all);
    if (bytes > MOST_PROPERTIES)
      return new TallyError(
        "too-large",
        `${id} has ${bytes} bytes of headers and names; RocketMQ takes ${MOST_PROPERTIES}`,
        { id },
      );
    return null;
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
    if (vouched(answer, part.length)) {
      this.#turnedAway.delete(topic);
      return this.#o.topology.accepted;
    }
    const status = answer.status.code === OK ? (answer.entries.find(notOk)?.status ?? answer.status) : answer.status;
    if (status.code === OK) return doubt(topic, "an OK without the id of what was stored");
    const meaning = meaningOf(status);
    switch (meaning) {
      case "doubt":
        return doubt(topic, said(status));
      case "later":
        return later(topic, status);
      case "perhaps": {
        const since = this.#turnedAway.get(topic) ?? this.#o.clock.now();
        this.#turnedAway.set(topic, since);
        if (this.#o.clock.now() - since < CACHED_MS) return later(topic, status);
        if (!(await this.#o.turnedAway(topic))) return later(topic, status);
        return { kind: "refused", error: new TallyError("refused", `topic ${topic}: ${said(status)}`) };
      }
      case "refused":
      case "unauthorized":
      case "too-large":
        if (part.length > 1) {
          // All or none, and which one it was the broker does not say: each goes alone.
          left.unshift(...part.map((one) => [one]));
          return null;
        }
        return {
          kind: "refused",
          error: new TallyError(meaning, `topic ${topic}: ${said(status)}`, { id: handed.batch[part[0]!.index]!.id }),
        };
    }
  }

  #endAll(handed: Handed, indexes: readonly number[], verdict: Verdict): void {
    for (const index of indexes) this.#end(handed, index, verdict);
  }

  #end(handed: Handed, index: number, verdict: Verdict): void {
    if (handed.open.delete(index)) handed.verdict(index, verdict);
  }
}

/**
 * OK, and the id of each message: one entry with all of them between commas, or one each. An OK without is what the proxy
 * also says of what it has not stored.
 */
function vouched({ status, entries }: Sent, count: number): boolean {
  if (status.code !== OK || entries.some(notOk)) return false;
  const ids = entries.flatMap(({ messageId }) => messageId.split(",")).filter((id) => id !== "");
  return ids.length === count;
}

function notOk({ status }: { readonly status: Status }): boolean {
  return status.code !== OK;
}

function said({ code, text }: Status): string {
  return `${text} (${code})`;
}

function doubt(topic: string, why: string, cause?: unknown): Verdict {
  const words = `topic ${topic}: the broker's answer was lost, or is none: ${why}`;
  return { kind: "doubt", error: new TallyError("in-doubt", words, { mayArrive: true, retryable: true, cause }) };
}

function later(topic: string, status: Status): Verdict {
  const error = new TallyError("later", `topic ${topic}: ${said(status)}`, { retryable: true });
  return { kind: "later", error, afterMs: LATER_MS };
}

function unsent(why: string): Verdict {
  return Object.freeze({ kind: "unsent", error: new TallyError("unsent", why, { retryable: true }) });
}
