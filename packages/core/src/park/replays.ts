import { describe, TallyError } from "../error.ts";
import type { Events } from "../events.ts";
import { failpoint } from "../failpoints.ts";
import { storeError } from "../inbox/claims.ts";
import type { InboxStore } from "../stores.ts";
import type { Runners } from "./runners.ts";

/** Names a parked key. */
export interface ParkedKeyName {
  readonly group: string;
  readonly topic: string;
  readonly key: string;
}

/**
 * Runs the messages of parked keys again, in their order.
 *
 * One at a time: the first row of the key is read, run by its claim, marked, and removed; then the next is read. What
 * arrives meanwhile finds the key parked and goes behind the last row, so that the end is reached with an empty key, whose
 * last row and parking go in one transaction. Killed anywhere, the next replay begins with the first row there is: if that
 * has been marked, its claim says `done`, and it is removed without running.
 *
 * Two replays of one key, in two processes: each runs only the first row that is there, and only by its claim. The other
 * one meets that claim as `busy`, waits for its end, and asks again: `done`, and it removes the row, if that is still there,
 * and reads the next; or the first one has failed, and it is its turn. A row is passed over by neither before it is marked
 * or removed, so the order holds; the claims' fences see to it that each has one effect. No lease of a replay's own is
 * needed. (In one process a second call gets the first one's promise.)
 */
export class Replays {
  readonly #store: InboxStore<unknown>;
  readonly #events: Events;
  readonly #runners: Runners;
  readonly #running: Map<string, Promise<number>> = new Map();

  constructor(store: InboxStore<unknown>, events: Events, runners: Runners) {
    this.#store = store;
    this.#events = events;
    this.#runners = runners;
  }

  /** @throws TallyError `unsupported`, `store`, `closed`, and what the handler failed with */
  replay(of: ParkedKeyName): Promise<number> {
    const name = JSON.stringify([of.group, of.topic, of.key]);
    const running = this.#running.get(name);
    if (running !== undefined) return running;
    const replay = this.#replay(of).finally(() => this.#running.delete(name));
    this.#running.set(name, replay);
    return replay;
  }

  async #replay({ group, topic, key }: ParkedKeyName): Promise<number> {
    const named = `${topic} / ${group}: key ${JSON.stringify(key)}`;
    let messages = 0;
    for (;;) {
      const [first] = await this.#asked(this.#store.parkedMessages(group, topic, key, 1));
      if (first === undefined) break;
      const runner = this.#runners.find(group, topic);
      if (runner === null)
        throw new TallyError(
          messages === 0 ? "unsupported" : "closed",
          `${named} is replayed by a started consumer of that group and topic, with an inbox effect; ${messages === 0 ? "this process has none" : "it has closed"}`,
        );
      const { id } = first.message;
      const ran = await runner.run(first);
      if (ran.is === "gone")
        throw new TallyError("closed", `${named}: its consumer closed before ${id}, after ${messages} messages`);
      if (ran.is === "failed") {
        this.#events.emit({ type: "replay-stopped", topic, group, key, messages, error: ran.error });
        const { code, retryable } = ran.error;
        throw new TallyError(
          code,
          `${named} stays parked: ${id} failed again, after ${messages} that ran: ${describe(ran.error)}`,
          { id, retryable, cause: ran.error },
        );
      }
      failpoint("park.ran");
      await this.#asked(this.#store.unpark(first.place));
      messages++;
      failpoint("park.removed");
    }
    const left = await this.#asked(this.#store.parkedKeys(group, topic, [key]));
    if (left.has(key)) throw new TallyError("store", `${named} stays parked: the store cannot read what is left of it`);
    if (messages > 0) this.#events.emit({ type: "key-replayed", topic, group, key, messages });
    return messages;
  }

  async #asked<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (thrown) {
      throw storeError("the inbox did not answer", thrown);
    }
  }
}
