import type { Publish } from "../publish/options.ts";
import type { Job } from "../consume/attempt.ts";
import { failpoint } from "../failpoints.ts";
import type { Runtime } from "../runtime.ts";
import type { Topic } from "../topic.ts";
import { type Death, deadLetterTopic, letter, reasonText } from "./letter.ts";

/** Publishes the dead letters of a consumer. */
export class DeadLetters {
  readonly #group: string;
  readonly #publish: Publish;
  readonly #runtime: Runtime;
  readonly #topics: Map<string, Topic<Uint8Array>> = new Map();
  /** On their way, by topic and id. */
  readonly #out: Map<string, Promise<unknown>> = new Map();

  constructor(group: string, publish: Publish, runtime: Runtime) {
    this.#group = group;
    this.#publish = publish;
    this.#runtime = runtime;
  }

  /** Resolves when the broker has the letter: only then may the delivery be acked. @throws TallyError as `publish()` does */
  async send(job: Job, death: Death): Promise<void> {
    const { message } = job.delivery;
    const from = job.subscription.topic.name;
    let to = this.#topics.get(from);
    if (to === undefined) this.#topics.set(from, (to = deadLetterTopic(from, this.#group)));
    const { topic, options, own } = letter(to, from, this.#group, job.id, message, death, this.#runtime.clock.wall());
    // Two producers may use one id, and the publisher would take the second letter for the first.
    const line = options.id === undefined ? null : `${topic.name}\0${options.id}`;
    while (line !== null && this.#out.has(line)) await this.#out.get(line);
    const sending = this.#publish(topic, message.body, options, own);
    if (line !== null)
      this.#out.set(
        line,
        sending.then(
          () => this.#out.delete(line),
          () => this.#out.delete(line),
        ),
      );
    await sending;
    failpoint("dead-letter.confirmed");
    this.#runtime.events.emit({
      type: "dead-lettered",
      topic: from,
      group: this.#group,
      id: job.id,
      reason: reasonText(death.reason),
    });
  }
}
