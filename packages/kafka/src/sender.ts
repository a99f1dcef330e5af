import { type Outgoing, type Sender, type SenderEvents, TallyError, type Verdict } from "@tallymq/core/spi";
import { record } from "./codec.ts";
import type { DriverProducer, DriverRecord, Produced } from "./driver/driver.ts";
import { divides, rejection } from "./errors.ts";
import type { Place, Topology } from "./topology.ts";

/** What the sender is given at once for one partition. */
interface Handed {
  readonly batch: readonly Outgoing[];
  readonly verdict: (index: number, verdict: Verdict) => void;
  /** By index: 1, once it has its verdict. */
  readonly ended: Uint8Array;
  /** Without a verdict. */
  open: number;
}

/** What travels in one request: indexes of a batch, and their records. */
interface Part {
  readonly indexes: number[];
  readonly records: DriverRecord[];
}

const OVER: Verdict = unsent("the session is over");

/**
 * A session for sending: one idempotent producer.
 *
 * A request carries one partition, and core hands over no second batch of a partition before the first has its verdicts. A
 * batch that is too large for one request goes as several, one after the other. So the client's repeats are of the very
 * batch that has the next sequence number, and the broker drops what it has.
 *
 * A send that is rejected, or whose answer does not say that this partition has it, leaves a gap in the producer's sequence
 * numbers, or a batch that may still come. The producer is *retired* then: what it had in that request is in doubt, core
 * opens a successor, and what the producer has out on other partitions ends by itself.
 */
export class KafkaSender implements Sender {
  readonly #producer: DriverProducer;
  readonly #topology: Topology;
  readonly #events: SenderEvents;
  readonly #maxBytes: number;
  readonly #batchBytes: number;
  readonly #ended: (session: AsyncDisposable) => void;
  /** By topic: half of what the smallest batch had that was too large for it. */
  readonly #most: Map<string, number> = new Map();
  readonly #out: Set<Handed> = new Set();
  #retired = false;
  #disposed: Promise<void> | null = null;

  /** @param ended Its producer is closed. */
  constructor(
    producer: DriverProducer,
    topology: Topology,
    events: SenderEvents,
    limits: { readonly maxBytes: number; readonly batchBytes: number },
    ended: (session: AsyncDisposable) => void,
  ) {
    this.#producer = producer;
    this.#topology = topology;
    this.#events = events;
    this.#maxBytes = limits.maxBytes;
    this.#batchBytes = limits.batchBytes;
    this.#ended = ended;
  }

  lane(message: Outgoing, kept: number | null): number {
    return this.#topology.laneOf(message, kept);
  }

  kept(lane: number): number | null {
    return this.#topology.keptOf(lane);
  }

  send(lane: number, batch: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void): void {
    const place = this.#topology.placeOf(lane);
    if (this.#disposed !== null || this.#retired || place === null) {
      const why = place === null ? unsent("its topic has not been declared in this session") : OVER;
      for (let i = 0; i < batch.length; i++) verdict(i, why);
      return;
    }
    this.#topology.left(place);
    const handed: Handed = { batch, verdict, ended: new Uint8Array(batch.length), open: batch.length };
    const refused: [number, TallyError][] = [];
    const parts = this.#parts(batch, this.#mostOf(place.topic), refused);
    this.#out.add(handed);
    void this.#run(place, handed, parts);
    // After the rest is on its way: a callback may do anything.
    for (const [index, error] of refused) this.#end(handed, index, { kind: "refused", error });
    if (handed.open === 0) this.#out.delete(handed);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#close();
    return this.#disposed;
  }

  #close(): Promise<void> {
    const closing = this.#producer
      .close()
      .catch(() => {})
      .then(() => this.#ended(this));
    const error = new TallyError("in-doubt", "the session was closed before the broker's answer came", {
      mayArrive: true,
      retryable: true,
    });
    for (const handed of [...this.#out]) this.#endAll(handed, handed.batch.keys(), { kind: "doubt", error });
    this.#out.clear();
    return closing;
  }

  #mostOf(topic: string): number {
    return this.#most.get(topic) ?? this.#batchBytes;
  }

  /** @param most Bodies of one, in bytes */
  #parts(batch: readonly Outgoing[], most: number, refused: [number, TallyError][]): Part[] {
    const parts: Part[] = [];
    let part: Part | null = null;
    let bytes = 0;
    for (let index = 0; index < batch.length; index++) {
      const m = batch[index]!;
      const error = this.#fault(m);
      if (error !== null) {
        refused.push([index, error]);
        continue;
      }
      if (part === null || (bytes > 0 && bytes + m.body.length > most)) {
        parts.push((part = { indexes: [], records: [] }));
        bytes = 0;
      }
      bytes += m.body.length;
      part.indexes.push(index);
      part.records.push(record(m));
    }
    return parts;
  }

  #fault(m: Outgoing): TallyError | null {
    if (m.body.length > this.#maxBytes)
      return new TallyError("too-large", `${m.id} has ${m.body.length} bytes; kafka() takes ${this.#maxBytes}`, {
        id: m.id,
      });
    if (m.ordered && m.delayMs > 0) {
      const words = `topic ${m.topic} is ordered: what came after ${m.id} would overtake it while it is delayed`;
      return new TallyError("unsupported", words, { id: m.id });
    }
    const [property] = m.native === null ? [] : Object.keys(m.native);
    if (property !== undefined)
      return new TallyError(
        "bad-message",
        `native has no property ${JSON.stringify(property.slice(0, 40))} on Kafka; there is none yet`,
        { id: m.id },
      );
    return null;
  }

  /** One request after the other; never rejects. */
  async #run(place: Place, handed: Handed, parts: readonly Part[]): Promise<void> {
    const left = [...parts];
    for (let part = left.shift(); part !== undefined; part = left.shift()) {
      if (this.#disposed !== null) return;
      const why = this.#retired ? OVER : await this.#sendPart(place, handed, part, left);
      if (why !== null) this.#endAll(handed, part.indexes, why);
    }
    this.#out.delete(handed);
  }

  /** The verdict of all of the part; null where it has none yet, being sent in smaller ones. */
  async #sendPart(place: Place, handed: Handed, part: Part, left: Part[]): Promise<Verdict | null> {
    const { topic, partition } = place;
    try {
      const answer = await this.#producer.send(topic, partition, part.records);
      if (vouched(answer, partition)) return this.#topology.acceptedOn(topic);
      return this.#doubt(topic, new Error(`the answer for partition ${partition} was ${JSON.stringify(answer)}`));
    } catch (thrown) {
      const rejected = rejection(thrown, topic);
      if (rejected.kind === "doubt") return this.#doubt(topic, thrown);
      const { indexes, records } = part;
      if (indexes.length > 1 && divides(rejected)) {
        // One of them, or all together: the broker does not say. A half that it still does not take is halved again.
        const half = indexes.length >> 1;
        left.unshift(
          { indexes: indexes.slice(0, half), records: records.slice(0, half) },
          { indexes: indexes.slice(half), records: records.slice(half) },
        );
        if (rejected.kind === "too-large") {
          const bytes = records.reduce((sum, { value }) => sum + value.length, 0);
          this.#most.set(topic, Math.min(bytes / 2, this.#mostOf(topic)));
        }
        return null;
      }
      if (rejected.kind === "refused") return { kind: "refused", error: rejected.error };
      const { id } = handed.batch[indexes[0]!]!;
      const words = `topic ${topic} takes no batch as large as ${id} alone (max.message.bytes)`;
      return { kind: "refused", error: new TallyError("too-large", words, { id, cause: thrown }) };
    }
  }

  #doubt(topic: string, thrown: unknown): Verdict {
    const rejected = rejection(thrown, topic) as { readonly error: TallyError };
    if (!this.#retired && this.#disposed === null) {
      this.#retired = true;
      // Before the verdict: what is sent again because of it goes to the successor.
      this.#events.retired(rejected.error);
    }
    return { kind: "doubt", error: rejected.error };
  }

  #endAll(handed: Handed, indexes: Iterable<number>, verdict: Verdict): void {
    for (const index of indexes) this.#end(handed, index, verdict);
  }

  #end(handed: Handed, index: number, verdict: Verdict): void {
    if (handed.ended[index] === 1) return;
    handed.ended[index] = 1;
    handed.open--;
    handed.verdict(index, verdict);
  }
}

/**
 * A send counts if its answer names that one partition, without an error and with an offset. kafkajs also resolves with an
 * empty answer, having sent nothing: its pool may hold another broker under the leader's number.
 */
export function vouched(answer: readonly Produced[], partition: number): boolean {
  const [one] = answer;
  return (
    answer.length === 1 &&
    one!.partition === partition &&
    one!.errorCode === 0 &&
    one!.offset !== null &&
    one!.offset >= 0
  );
}

function unsent(why: string): Verdict {
  return Object.freeze({ kind: "unsent", error: new TallyError("unsent", why, { retryable: true }) });
}
