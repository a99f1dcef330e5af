import { TallyError } from "../error.ts";
import { text } from "../policy.ts";
import type { Publish } from "../publish/options.ts";
import type { Runtime } from "../runtime.ts";
import type { InboxStore } from "../stores.ts";
import { isTopic, type Topic } from "../topic.ts";
import { deadLetterTopic } from "./letter.ts";
import { list, type Place, purge, replay } from "./operations.ts";
import { type DeadLetterQueue, resolveList, resolvePurge, resolveReplay } from "./queue.ts";

/** Hands out the dead letters of groups, and ends what is under way with them when the tally closes. */
export class DeadLetterOffice {
  readonly #runtime: Runtime;
  readonly #inbox: InboxStore<unknown> | null;
  readonly #publish: Publish;
  readonly #closing: AbortController = new AbortController();
  /** The last call of each queue, by the name of its topic. */
  readonly #turns: Map<string, Promise<unknown>> = new Map();

  constructor(runtime: Runtime, inbox: InboxStore<unknown> | null, publish: Publish) {
    this.#runtime = runtime;
    this.#inbox = inbox;
    this.#publish = publish;
  }

  /** @throws TallyError `bad-config` */
  of(topic: Topic<never, unknown>, group: string): DeadLetterQueue {
    if (!isTopic(topic))
      throw new TallyError("bad-config", "deadLetters: the first argument must be a topic, made by topic()");
    text("", 120).read("deadLetters: group", group);
    const queue = deadLetterTopic(topic.name, group).name;
    const at = `deadLetters ${JSON.stringify(queue)}:`;
    // Options are read at the call, so that a wrong one is told before its turn.
    const turn = async <O extends { readonly signal: AbortSignal | null }, R>(
      resolve: () => O,
      call: (place: Place, look: O) => Promise<R>,
    ): Promise<R> => {
      const look = resolve();
      const { signal, release } = this.#signal(at, look.signal);
      const place = { runtime: this.#runtime, topic, group, inbox: this.#inbox, publish: this.#publish, signal };
      const mine = (this.#turns.get(queue) ?? Promise.resolve()).then(async () => {
        try {
          return await call(place, look);
        } catch (thrown) {
          // Whatever it was in the middle of said so in its own words.
          throw signal.aborted ? signal.reason : thrown;
        }
      });
      const over = mine
        .catch(() => {})
        .then(() => {
          release();
          if (this.#turns.get(queue) === over) this.#turns.delete(queue);
        });
      this.#turns.set(queue, over);
      return await mine;
    };
    return {
      topic: topic.name,
      group,
      list: (options) => turn(() => resolveList(at, options), list),
      replay: (options) => turn(() => resolveReplay(at, options), replay),
      purge: (options) => turn(() => resolvePurge(at, options), purge),
    };
  }

  /** Ends calls that are under way; resolves when they have given back what they held. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#turns.values());
  }

  /** Fires with either; its reason is what the call rejects with. */
  #signal(at: string, given: AbortSignal | null): { readonly signal: AbortSignal; readonly release: () => void } {
    const own = new AbortController();
    const closing = this.#closing.signal;
    const closed = (): void => own.abort(new TallyError("closed", `${at} the tally closes`));
    const aborted = (): void =>
      own.abort(new TallyError("aborted", `${at} given up by its signal`, { cause: given?.reason }));
    if (closing.aborted) closed();
    else if (given?.aborted === true) aborted();
    closing.addEventListener("abort", closed, { once: true });
    given?.addEventListener("abort", aborted, { once: true });
    return {
      signal: own.signal,
      release: () => {
        closing.removeEventListener("abort", closed);
        given?.removeEventListener("abort", aborted);
      },
    };
  }
}
