import { type Clock, sleep } from "../clock.ts";
import type { Durability } from "../audit/report.ts";
import { describe, TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { MembersPort } from "../port/transport.ts";

/** Taking a seat may take so long; it is tried again with the next session. */
const SIT_WITHIN_MS = 10_000;
/** The others have so long to show themselves, before one that must not start beside another inbox starts. */
const ANSWER_WITHIN_MS = 500;

/** A member's place while one session of it lasts. */
export interface Seat {
  /** Resolves when the others have had time to show themselves. @throws TallyError `bad-config`: one has another inbox */
  readonly checked: Promise<void>;
  leave(): Promise<void>;
}

/**
 * Members of a group show each other which inbox they have: two inboxes in one group know nothing of each other's effects,
 * so that a redelivery to the other member has its effect again. A file on each machine's own disk is the usual way to it.
 */
export class Members {
  readonly #runtime: Runtime;
  readonly #port: MembersPort;
  readonly #inbox: string;
  readonly durability: Durability;
  /** Said once: by topic and group, which other inboxes. */
  readonly #said: Set<string> = new Set();
  /** Topics and groups of which a member with another inbox was seen. */
  readonly #apart: Set<string> = new Set();
  #failed = false;

  constructor(runtime: Runtime, port: MembersPort, inbox: string, durability: Durability) {
    this.#runtime = runtime;
    this.#port = port;
    this.#inbox = inbox;
    this.durability = durability;
  }

  /** Shown in the broker's listing of consumers. */
  get shortId(): string {
    return this.#inbox.replaceAll(/[^A-Za-z0-9]/g, "").slice(0, 8);
  }

  /** Whether a member of the group was seen that has another inbox: nothing can be parked for all of them then. */
  apart(topic: string, group: string): boolean {
    return this.#apart.has(`${topic}\0${group}`);
  }

  /** Never throws; what fails is said, and stops nobody. */
  sit(topic: string, group: string, consumer: string): Seat {
    const { clock } = this.#runtime;
    const abort = new AbortController();
    const timer = clock.after(SIT_WITHIN_MS, () =>
      abort.abort(new TallyError("unreachable", `no answer within ${SIT_WITHIN_MS} ms`, { retryable: true })),
    );
    let other: TallyError | null = null;
    const card = JSON.stringify({ inbox: this.#inbox, consumer });
    const seen = (shown: string): void => void (other ??= this.#look(topic, group, shown));
    const { promise: sitting, resolve, reject } = Promise.withResolvers<AsyncDisposable>();
    abort.signal.addEventListener("abort", () => reject(abort.signal.reason), { once: true });
    // What comes after nobody waits any more is given back; its connection may be gone by then, and the seat with it.
    (async () => await this.#port.join(topic, group, card, seen, abort.signal))()
      .then((taken) => (abort.signal.aborted ? taken[Symbol.asyncDispose]() : resolve(taken)), reject)
      .catch(() => {});
    let left = false;
    const seat = sitting.catch((thrown: unknown) => {
      if (!left) this.#surface(topic, group, thrown);
      return null;
    });
    void seat.finally(() => timer.cancel());
    const checked = this.#check(sitting, clock, () => other);
    checked.catch(() => {}); // who starts waits for it; later sessions do not
    return {
      checked,
      async leave() {
        left = true;
        abort.abort(new TallyError("closed", "the session is over"));
        await (await seat)?.[Symbol.asyncDispose]();
      },
    };
  }

  async #check(sitting: Promise<unknown>, clock: Clock, other: () => TallyError | null): Promise<void> {
    if (this.durability !== "enforce") return;
    await sitting;
    await sleep(clock, ANSWER_WITHIN_MS);
    const found = other();
    if (found !== null) throw found;
  }

  /** Null: the same inbox, or a card that says nothing. */
  #look(topic: string, group: string, card: string): TallyError | null {
    const { inbox, consumer } = read(card);
    if (inbox === null || inbox === this.#inbox) return null;
    const said = `${topic}\0${group}\0${inbox}`;
    if (!this.#said.has(said)) {
      this.#said.add(said);
      this.#apart.add(`${topic}\0${group}`);
      this.#runtime.events.emit({ type: "inbox-differs", topic, group, ours: this.#inbox, theirs: inbox, consumer });
    }
    return new TallyError(
      "bad-config",
      `${consumer} of group ${group} has another inbox (${inbox}) than this consumer (${this.#inbox}): neither knows what the other has done. Give them one inbox`,
    );
  }

  #surface(topic: string, group: string, thrown: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#runtime.events.emit({
      type: "surfaced",
      what: `${topic} / ${group}`,
      text: `whether all members of the group have one inbox is not known: ${describe(thrown)}`,
    });
  }
}

function read(card: string): { readonly inbox: string | null; readonly consumer: string } {
  try {
    const { inbox, consumer } = JSON.parse(card) as { inbox?: unknown; consumer?: unknown };
    return {
      inbox: typeof inbox === "string" ? inbox.slice(0, 255) : null,
      consumer: typeof consumer === "string" ? consumer.slice(0, 255) : "a consumer",
    };
  } catch {
    return { inbox: null, consumer: "" };
  }
}
