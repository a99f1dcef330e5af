import { fullJitter } from "../backoff.ts";
import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { copyTopic } from "../publish/copies.ts";
import type { Own, Publish } from "../publish/options.ts";
import type { Runtime } from "../runtime.ts";
import type { Topic } from "../topic.ts";
import type { Job } from "./attempt.ts";
import type { Wait } from "./decide.ts";
import type { ConsumerPolicy, Ruling } from "./options.ts";
import type { TopicSubscription } from "./subscription.ts";

/** What a message's `attempt` is capped at on every wire. */
const MOST_ATTEMPTS = 1_000_000;

/**
 * Deliveries that come again later, as a copy of the message that the broker keeps until then. Credit and lane are free
 * meanwhile, and a restart forgets nothing.
 *
 * The copy is the message: id, producer, key, headers, bytes; only `attempt` counts on. It goes to this group alone, and
 * the delivery is acked when the broker has confirmed it. Killed in between, both come: two deliveries of one identity,
 * which an inbox makes one effect of. The claim ends before the copy leaves, so that the copy's is fresh.
 *
 * Never of an ordered key: what came after it would overtake it.
 */
export class Delays {
  readonly #group: string;
  readonly #policy: ConsumerPolicy;
  readonly #runtime: Runtime;
  readonly #publish: Publish;
  readonly #topics: Map<TopicSubscription, Topic<Uint8Array>> = new Map();
  /** Of topics that the broker cannot delay, though it can others. */
  readonly #unable: Set<TopicSubscription> = new Set();

  constructor(group: string, policy: ConsumerPolicy, runtime: Runtime, publish: Publish) {
    this.#group = group;
    this.#policy = policy;
    this.#runtime = runtime;
    this.#publish = publish;
  }

  /** Milliseconds by which this delivery can be delayed; 0: not at all. */
  longest(job: Job): number {
    if (job.inOrder || job.replay !== null || this.#unable.has(job.subscription)) return 0;
    return this.#runtime.transport.traits.longestDelay;
  }

  /** The ruling, or that it is given up: it has come so often that it is not to come again. */
  bounded(job: Job, ruling: Wait, error: TallyError): Ruling {
    const times = Math.max(job.delivery.message.attempt, job.claim?.claim.attempt ?? 1);
    if (times < this.#policy.maxAttempts) return ruling;
    return { kind: "deadLetter", reason: `came ${times} times: ${error.message}` };
  }

  /**
   * Resolves when the broker has the copy: only then may the delivery be acked.
   * @param afterMs null: the longer, the more often it came; full jitter
   * @throws TallyError as `publish()` does: not acked then. `mayArrive`: the copy may come all the same
   */
  async send(job: Job, afterMs: number | null, gone: AbortSignal): Promise<void> {
    const { subscription, id } = job;
    const { message } = job.delivery;
    let to = this.#topics.get(subscription);
    if (to === undefined) this.#topics.set(subscription, (to = copyTopic(subscription.topic, this.#group)));
    const { retryMin: min, retryMax: max, attempts } = this.#policy;
    const wait = afterMs ?? fullJitter({ min, max }, attempts * message.attempt, this.#runtime.random);
    const delayMs = Math.min(Math.max(1, Math.ceil(wait)), this.#runtime.transport.traits.longestDelay);
    const attempt = Math.min(message.attempt + 1, MOST_ATTEMPTS);
    try {
      failpoint("delay.sending");
      await this.#publish(to, message.body, { signal: gone }, this.#copy(job, delayMs, attempt));
      failpoint("delay.confirmed");
    } catch (thrown) {
      if (TallyError.is(thrown) && thrown.code === "unsupported") this.#unable.add(subscription);
      throw thrown;
    }
    const { name: topic } = subscription.topic;
    this.#runtime.events.emit({ type: "delayed", topic, group: this.#group, id, attempt, afterMs: delayMs });
  }

  #copy({ id, delivery: { message } }: Job, delayMs: number, attempt: number): Own {
    const { run, seq, time, contentType } = message;
    return {
      ...(id === null ? {} : { id }),
      ...(run === null || seq === null ? {} : { run, seq }),
      ...(time === null ? {} : { time }),
      ...(contentType === null ? {} : { contentType }),
      // As the inbox knows a sender that gave no name.
      producer: message.producer ?? "",
      // A delivery without a key, of an ordered topic, has no order.
      ordered: false,
      key: message.key,
      type: message.type,
      contentEncoding: message.contentEncoding,
      correlationId: message.correlationId,
      causationId: message.causationId,
      headers: message.headers,
      group: this.#group,
      delayMs,
      attempt,
    };
  }
}
