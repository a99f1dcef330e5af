import { milliseconds } from "../duration.ts";
import { TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Proof } from "../port/sending.ts";
import { Caller, Signals } from "./callers.ts";
import type { Entry } from "./entry.ts";
import type { Taken } from "./intake.ts";
import type { PublishOptions, Receipt } from "./options.ts";
import { aborted, asError, rejection, sameBytes } from "./rejections.ts";

export interface AnswersOptions {
  readonly runtime: Runtime;
  /** Milliseconds a call waits that says nothing of it. */
  readonly deadline: number;
  /** Its signal has fired. */
  readonly aborted: (caller: Caller, error: TallyError) => void;
}

/** Who waits for a message, and what they are told. What becomes of the message itself is decided in `ends.ts`. */
export class Answers {
  readonly #runtime: Runtime;
  readonly #deadline: number;
  readonly #signals: Signals;

  constructor({ runtime, deadline, aborted: gaveUp }: AnswersOptions) {
    this.#runtime = runtime;
    this.#deadline = deadline;
    this.#signals = new Signals((caller, signal) => gaveUp(caller, aborted(signal, caller.entry.message.id)));
  }

  /** A call that waits from now on. @throws TallyError `bad-config` for its deadline */
  call(entry: Entry, options: PublishOptions | undefined): Caller {
    const within =
      options?.deadline === undefined ? this.#deadline : milliseconds("publish: deadline", options.deadline);
    const caller = new Caller(entry, this.#runtime.clock.now() + within, options?.signal ?? null);
    if (caller.signal !== null) this.#signals.add(caller);
    return caller;
  }

  /** @throws TallyError `conflict`: the id is in flight, and is another message */
  assertSame({ message: first, given: known }: Entry, { message, given }: Taken): void {
    const same = given !== null && known !== null ? given === known : sameBytes(first.body, message.body);
    if (same && first.producer === message.producer && first.key === message.key) return;
    const { id, topic } = message;
    throw new TallyError("conflict", `${id} is in flight on ${topic} with another body or key`, { id });
  }

  /** One more waits for a message that has callers. True: it gives up before all others. */
  join(entry: Entry, first: Caller, caller: Caller): boolean {
    const earlier = caller.deadlineAt < first.deadlineAt;
    if (earlier) entry.caller = caller;
    (entry.joined ??= []).push(earlier ? first : caller);
    return earlier;
  }

  /** One of several waits no more; it has no answer yet. False: there is no other. */
  leave(caller: Caller): boolean {
    const { entry } = caller;
    if (entry.joined === null) return false;
    const others = entry.joined.filter((other) => other !== caller).toSorted((a, b) => a.deadlineAt - b.deadlineAt);
    if (entry.caller === caller) entry.caller = others.shift() ?? null;
    entry.joined = others.length === 0 ? null : others;
    return true;
  }

  accept({ caller, joined }: Entry, proof: Proof, state: Receipt["state"]): void {
    caller?.accept(proof, state);
    if (joined !== null) for (const other of joined) other.accept(proof, state);
  }

  /** Everybody, with {@link rejectOne}. */
  reject(entry: Entry, error: TallyError, mayArrive: boolean): void {
    const { caller, joined } = entry;
    entry.caller = null;
    entry.joined = null;
    if (caller !== null) this.rejectOne(caller, error, mayArrive);
    if (joined !== null) for (const other of joined) this.rejectOne(other, error, mayArrive);
  }

  /** The reason, the id, and whether a copy may still take effect. */
  rejectOne(caller: Caller, error: TallyError, mayArrive: boolean): void {
    const { topic, id } = caller.entry.message;
    this.#signals.remove(caller);
    caller.reject(rejection(error, id, mayArrive));
    this.#runtime.events.emit({ type: "rejected", topic, id, code: error.code, mayArrive });
  }

  /** A message is at its end, and all have their answer. */
  end(entry: Entry): void {
    const { caller, joined } = entry;
    if (caller !== null && caller.signal !== null) this.#signals.remove(caller);
    if (joined !== null) for (const other of joined) this.#signals.remove(other);
    entry.caller = null;
    entry.joined = null;
  }

  /** For a call that was refused before it became a message. */
  refuse(topic: string, options: PublishOptions | undefined, thrown: unknown): TallyError {
    const id = typeof options?.id === "string" ? options.id : null;
    const { signal } = options ?? {};
    const error = signal?.aborted === true && !TallyError.is(thrown) ? aborted(signal, id) : asError(thrown, id);
    this.#runtime.events.emit({ type: "rejected", topic, id: id ?? "", code: error.code, mayArrive: false });
    return error;
  }
}
