import type { Outgoing, Sender, SenderEvents, TallyError, Timer, Verdict } from "@tallymq/core/spi";
import type { SenderPort } from "../broker/engine.ts";
import { type Bench, type Losable, sessionLost } from "./bench.ts";
import { Batch } from "./copies.ts";
import { acceptedWith, doubt, incoming, later, MAX_BYTES, refused, tooLarge, unroutable, unsent } from "./traits.ts";

const ACCEPTED: Verdict = acceptedWith("no");

/**
 * A session for sending to the broker in this process. What `send` is given is read in the next microtask, copy by copy,
 * as from a wire: so no verdict comes from within `send`, verdicts come in the order of sending, and a session that is
 * lost in between has copies that never got one.
 */
export class MemorySender implements Sender, SenderPort, Losable {
  readonly #bench: Bench;
  readonly #events: SenderEvents;
  readonly #gone: (sender: MemorySender) => void;
  readonly #leave: () => void;
  /** Not read to their end yet. */
  #unread: Batch[] = [];
  /** With copies that have no verdict yet. */
  readonly #open: Set<Batch> = new Set();
  readonly #timers: Set<Timer> = new Set();
  #reading = false;
  #over = false;

  constructor(bench: Bench, events: SenderEvents, gone: (sender: MemorySender) => void) {
    this.#bench = bench;
    this.#events = events;
    this.#gone = gone;
    bench.sessions.add(this);
    this.#leave = bench.engine.joinSender(this);
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
    this.#open.add(batch);
    this.#unread.push(batch);
    this.#wake();
  }

  blocked(reason: string): void {
    this.#events.blocked(reason);
  }

  unblocked(): void {
    this.#events.unblocked();
    this.#wake();
  }

  lose(error: TallyError): void {
    if (!this.#over) this.#end(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#over) this.#end(null);
  }

  #wake(): void {
    if (this.#reading) return;
    this.#reading = true;
    queueMicrotask(() => {
      this.#reading = false;
      this.#read();
    });
  }

  #read(): void {
    const batches = this.#unread;
    let done = 0;
    while (done < batches.length && this.#reads()) {
      const batch = batches[done]!;
      while (batch.next < batch.messages.length && this.#reads()) this.#copy(batch, batch.next++);
      if (batch.open === 0) this.#open.delete(batch);
      if (batch.next === batch.messages.length) done += 1;
    }
    // A verdict may have led to another `send`: what it added stands at the end of the same array.
    this.#unread = batches.slice(done);
  }

  #reads(): boolean {
    return !this.#over && this.#bench.engine.blocked === null;
  }

  #copy(batch: Batch, index: number): void {
    const message = batch.messages[index]!;
    let answer: Verdict | null = null;
    let silent = false;
    let delay = 0;
    let lost = false;
    for (const fault of this.#bench.script.strike("send", message.id)) {
      if (fault.do === "dropVerdict") silent = true;
      else if (fault.do === "delayVerdict") delay = fault.ms;
      else if (fault.do === "nack") answer = later(message, "nacked by the fault script", fault.ms);
      else if (fault.do === "returnUnroutable") answer = unroutable(message);
      else if (fault.do === "refuse") answer = refused(message, fault.error);
      else if (fault.do === "loseSession") {
        lost = true;
        if (!fault.stored) return this.#end(sessionLost());
      } else if (fault.do === "block") {
        // Not read: this copy is the first one after the block.
        batch.next = index;
        return this.#bench.engine.block(fault.reason);
      }
    }
    answer ??= this.#store(message);
    if (lost) return this.#end(sessionLost());
    if (silent) return;
    if (delay === 0) return batch.end(index, answer);
    this.#after(delay, batch, index, answer);
  }

  #store(message: Outgoing): Verdict {
    if (message.body.length > MAX_BYTES) return tooLarge(message);
    const accepted = this.#bench.engine.accept(incoming(message), message.group, message.delayMs);
    if (accepted === "unroutable") return unroutable(message);
    if (accepted === "full") return later(message, `a group of topic ${JSON.stringify(message.topic)} is full`, 0);
    this.#bench.engine.commit(accepted);
    return ACCEPTED;
  }

  #after(ms: number, batch: Batch, index: number, verdict: Verdict): void {
    const timer = this.#bench.clock().after(ms, () => {
      this.#timers.delete(timer);
      batch.end(index, verdict);
      if (batch.open === 0) this.#open.delete(batch);
    });
    this.#timers.add(timer);
  }

  /** Lost, or disposed of when there is no error: each copy without a verdict gets one in this tick. */
  #end(error: TallyError | null): void {
    this.#over = true;
    this.#leave();
    this.#bench.sessions.delete(this);
    this.#gone(this);
    for (const timer of this.#timers) timer.cancel();
    // Held back by a block means: never left. Anything else was on its way.
    const held = this.#bench.engine.blocked !== null;
    if (error !== null) this.#events.lost(error);
    for (const batch of this.#open) batch.endAll((m, i) => (held && i >= batch.next ? unsent(m) : doubt(m)));
    this.#open.clear();
  }
}
