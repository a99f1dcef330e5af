import type { Breakers } from "./breakers.ts";
import type { Entry } from "./entry.ts";
import type { Wire } from "./lanes.ts";
import type { PublishPolicy } from "./options.ts";
import type { Topics } from "./topics.ts";
import { HELD, next, WAITING } from "./transitions.ts";
import { Window } from "./window.ts";

export interface TurnsOptions {
  readonly policy: Pick<PublishPolicy, "window" | "windowBytes">;
  readonly breakers: Breakers;
  readonly topics: Topics;
  readonly wire: Wire;
  /** Whether the outbox keeps a message that is ready to go. */
  takes(entry: Entry): boolean;
}

/**
 * Whose turn it is. A message is held until it is validated, has a place in the window and is the first of its key; then
 * it goes to the broker, into the outbox, or nowhere until the outbox says so.
 */
export class Turns {
  readonly #breakers: Breakers;
  readonly #topics: Topics;
  readonly #wire: Wire;
  readonly #takes: TurnsOptions["takes"];
  readonly #window: Window<Entry>;

  constructor(options: TurnsOptions) {
    this.#breakers = options.breakers;
    this.#topics = options.topics;
    this.#wire = options.wire;
    this.#takes = options.takes;
    this.#window = new Window(
      options.policy.window,
      options.policy.windowBytes,
      (entry) => this.#admitted(entry),
      (entry) => options.breakers.keepsOut(entry),
    );
  }

  /** Asks for a place in the window, behind those that wait for one. */
  enter(entry: Entry): void {
    this.#window.enter(entry);
  }

  /** A row, which comes first: see `Window.enterFirst`. */
  enterFirst(entry: Entry): void {
    this.#window.enterFirst(entry);
  }

  /** Its place is free, and it will ask for another one. */
  putOut(entry: Entry): void {
    entry.inWindow = false;
    this.#window.leave(entry.bytes);
  }

  /** It has ended: its place is free, here and wherever it stands. */
  leave(entry: Entry): void {
    if (entry.inWindow) {
      entry.queue?.remove(entry);
      this.#window.leave(entry.bytes);
    } else this.#window.giveUp(entry);
  }

  /** Sends a held message on its way if nothing holds it any more. */
  advance(entry: Entry): void {
    if (entry.state === HELD && !entry.inWindow) this.#breakers.invite(entry.line);
    if (entry.state !== HELD || !entry.validated || !entry.inWindow) return;
    if (entry.message.ordered && !entry.line.isHead(entry)) return;
    entry.state = next(entry.state, "ready");
    this.route(entry);
  }

  /** To the broker, into the outbox, or nowhere until the outbox says so. */
  route(entry: Entry): void {
    if (!entry.inWindow) {
      // Its breaker put it out. One that stands in no line meanwhile asks to be let in.
      if (entry.queue === null) this.#window.enter(entry);
      else this.#breakers.invite(entry.line);
    } else if (!this.#takes(entry)) this.#enqueue(entry);
  }

  #admitted(entry: Entry): void {
    entry.inWindow = true;
    if (entry.state === WAITING) this.route(entry);
    else this.advance(entry);
  }

  #enqueue(entry: Entry): void {
    if (this.#breakers.holds(entry)) return;
    if (entry.line.ready) this.#wire.add(entry);
    else this.#topics.wait(entry);
  }
}
