import { randomUUID } from "node:crypto";
import type { Outgoing, TopicPlan } from "@tallymq/core/spi";
import { outgoing } from "../port/index.ts";

const encoder = new TextEncoder();

/** Messages of one producer, as core would hand them over. */
export class Messages {
  readonly producer: string;
  readonly run: string;
  #seq = 0;

  constructor(producer: string, run: string) {
    this.producer = producer;
    this.run = run;
  }

  one(topic: TopicPlan, given: Partial<Outgoing> = {}): Outgoing {
    const seq = ++this.#seq;
    const { name, ordered } = topic;
    const { producer, run } = this;
    const own = { producer, run, seq, topic: name, ordered, contentType: "text/plain", time: Date.now() };
    return Object.freeze(outgoing(randomUUID(), { ...own, body: encoder.encode(`message ${seq}`), ...given }));
  }

  /** `given` is called with 0, 1, 2 … */
  many(topic: TopicPlan, count: number, given: (index: number) => Partial<Outgoing> = () => ({})): readonly Outgoing[] {
    return Array.from({ length: count }, (_, index) => this.one(topic, given(index)));
  }
}

/** Bytes that no compression or text codec leaves alone by chance; the same for the same length. */
export function noise(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 0x9e3779b9;
  for (let i = 0; i < length; i++) {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state & 0xff;
  }
  return bytes;
}

export function ids(messages: readonly { readonly id: string | null }[]): readonly string[] {
  return messages.map((m) => String(m.id));
}
