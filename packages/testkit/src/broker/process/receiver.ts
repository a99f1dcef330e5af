import type { ConsumerPort, GroupConsumer, Out } from "../group.ts";
import { TallyError } from "@tallymq/core/spi";
import { encodeFrame, type Frame, list, metaOf, packFrames, text, whole, WireError } from "../wire.ts";
import { errorFrame, type Line, type Session } from "./session.ts";

const LONGEST = 2 ** 31 - 1;

/** A client's session for receiving: one consumer of one group, its deliveries numbered from 1. */
export class ReceiverSession implements Session, ConsumerPort {
  readonly #line: Line;
  readonly #consumer: GroupConsumer;
  readonly #out: Map<number, Out> = new Map();
  readonly #what: string;
  #tag = 0;
  #stopped = false;

  /** @throws TallyError `topology` when there is no such group */
  constructor(line: Line, hello: Readonly<Record<string, unknown>>) {
    this.#line = line;
    const [topic, group] = [text(hello["topic"]), text(hello["group"])];
    this.#what = `group ${JSON.stringify(group)} of topic ${JSON.stringify(topic)}`;
    this.#consumer = line.store.engine.subscribe(topic, group, whole(hello["credit"], 1, 1_000_000), this);
    line.send(encodeFrame('{"t":"subscribed"}'));
  }

  deliver(batch: readonly Out[]): void {
    const messages = batch.map((out) => {
      this.#out.set(++this.#tag, out);
      const { message } = out.entry;
      return { meta: JSON.stringify([this.#tag, out.count, metaOf(message)]), body: message.body };
    });
    for (const frame of packFrames("deliver", messages)) this.#line.send(frame);
  }

  removed(): void {
    this.#line.send(errorFrame(new TallyError("topology", `${this.#what} was removed`)));
  }

  frame({ header }: Frame): void {
    switch (header["t"]) {
      case "settle":
        for (const tag of list(header["a"])) this.#settle(tag, (out) => this.#consumer.ack(out));
        for (const pair of list(header["r"])) {
          const afterMs = whole(list(pair)[1], 0, LONGEST);
          this.#settle(list(pair)[0], (out) => this.#consumer.release(out, afterMs));
        }
        return;
      case "pause":
        return this.#consumer.pause();
      case "resume":
        if (!this.#stopped) this.#consumer.resume();
        return;
      case "stop":
        this.#stopped = true;
        this.#consumer.pause();
        return this.#line.send(encodeFrame('{"t":"stopped"}'));
      case "bye":
        this.#consumer.close();
        return this.#line.send(encodeFrame('{"t":"bye"}'));
      default:
        throw new WireError("a receiver does not say this");
    }
  }

  gone(): void {
    this.#consumer.close();
    this.#out.clear();
  }

  #settle(tag: unknown, settle: (out: Out) => boolean): void {
    const number = whole(tag, 1, Number.MAX_SAFE_INTEGER);
    const out = this.#out.get(number);
    this.#out.delete(number);
    if (out !== undefined && settle(out)) return;
    this.#line.send(
      encodeFrame(JSON.stringify({ t: "surfaced", what: `delivery ${number} of ${this.#what} was settled twice` })),
    );
  }
}
