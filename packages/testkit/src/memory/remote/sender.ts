import type { Outgoing, Sender, SenderEvents, TallyError, Verdict } from "@tallymq/core/spi";
import { type Frame, list, MAX_HEADER, metaOf, packFrames, text, whole, WireError } from "../../broker/wire.ts";
import { Batch } from "../copies.ts";
import { acceptedWith, doubt, incoming, later, MAX_BYTES, tooLarge, unroutable, unsent } from "../traits.ts";
import { errorOf, type Link } from "./link.ts";

const ACCEPTED: Verdict = acceptedWith("yes");

/** The copies of one batch that left, in the order in which they did. */
interface Sent {
  readonly batch: Batch;
  /** Their indices in the batch; null: all of them. */
  readonly indices: readonly number[] | null;
  readonly count: number;
  /** How many have their verdict. */
  ended: number;
}

/** A session for sending to a broker process. Verdicts come in the order of sending: the next one is always the oldest copy's. */
export class RemoteSender implements Sender {
  readonly #link: Link;
  readonly #events: SenderEvents;
  readonly #gone: (sender: RemoteSender) => void;
  #sent: Sent[] = [];
  /** The first of `#sent` that still has copies without a verdict. */
  #first = 0;
  #over = false;

  constructor(link: Link, events: SenderEvents, gone: (sender: RemoteSender) => void) {
    this.#link = link;
    this.#events = events;
    this.#gone = gone;
    link.listen({ frame: (frame) => this.#onFrame(frame), lost: (error) => this.#end(error) });
  }

  lane(): number {
    return 0;
  }

  kept(): null {
    return null;
  }

  send(_lane: number, messages: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void): void {
    const batch = new Batch(messages, verdict);
    if (this.#over) return queueMicrotask(() => batch.endAll(unsent));
    const copies: { meta: string; body: Uint8Array }[] = [];
    const indices: number[] = [];
    messages.forEach((message, i) => {
      const { group, delayMs } = message;
      const fields = metaOf(incoming(message));
      const meta = JSON.stringify(group === null && delayMs === 0 ? fields : [group, Math.ceil(delayMs), fields]);
      // What cannot travel never leaves; three bytes a unit of UTF-16 at most.
      if (message.body.length > MAX_BYTES || meta.length * 3 > MAX_HEADER - 64)
        return queueMicrotask(() => batch.end(i, tooLarge(message)));
      copies.push({ meta, body: message.body });
      indices.push(i);
    });
    if (copies.length === 0) return;
    this.#sent.push({
      batch,
      indices: copies.length === messages.length ? null : indices,
      count: copies.length,
      ended: 0,
    });
    for (const frame of packFrames("publish", copies)) this.#link.send(frame);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return;
    this.#link.close();
    this.#end(null);
  }

  #onFrame({ header }: Frame): void {
    switch (header["t"]) {
      case "verdicts":
        for (const run of list(header["r"]))
          this.#run(whole(list(run)[0], 1, Number.MAX_SAFE_INTEGER), text(list(run)[1]));
        return;
      case "blocked":
        return this.#events.blocked(text(header["reason"]));
      case "unblocked":
        return this.#events.unblocked();
      case "error":
        throw errorOf(header);
      default:
        throw new WireError("no frame for a sender");
    }
  }

  /** The oldest `count` copies have the same outcome. */
  #run(count: number, outcome: string): void {
    for (let left = count; left > 0 && !this.#over; left--) {
      const sent = this.#sent[this.#first];
      if (sent === undefined) throw new WireError("a verdict for a copy that was never sent");
      const index = sent.indices === null ? sent.ended : sent.indices[sent.ended]!;
      sent.ended += 1;
      if (sent.ended === sent.count) this.#shift();
      sent.batch.end(index, verdictOf(outcome, sent.batch.messages[index]!));
    }
  }

  #shift(): void {
    this.#first += 1;
    if (this.#first < 256 && this.#first < this.#sent.length) return;
    this.#sent = this.#sent.slice(this.#first);
    this.#first = 0;
  }

  /** Lost, or disposed of when there is no error: each copy without a verdict is in doubt, in this tick. */
  #end(error: TallyError | null): void {
    this.#over = true;
    this.#gone(this);
    const open = this.#sent.slice(this.#first);
    this.#sent = [];
    this.#first = 0;
    if (error !== null) this.#events.lost(error);
    for (const { batch, indices, ended, count } of open) {
      for (let i = ended; i < count; i++) {
        const index = indices === null ? i : indices[i]!;
        batch.end(index, doubt(batch.messages[index]!));
      }
    }
  }
}

function verdictOf(outcome: string, message: Outgoing): Verdict {
  if (outcome === "accepted") return ACCEPTED;
  if (outcome === "unroutable") return unroutable(message);
  if (outcome === "full") return later(message, `a group of topic ${JSON.stringify(message.topic)} is full`, 0);
  throw new WireError("an unknown outcome");
}
