import type { Publish } from "../publish/options.ts";
import { failpoint } from "../failpoints.ts";
import type { Incoming } from "../message.ts";
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

  /**
   * Resolves when the broker has the letter: only then may the delivery be acked.
   * @param from The topic subscribed to.
   * @param id The message's own id, or what the consumer's `id` made of it.
   * @throws TallyError as `publish()` does
   */
  async send(from: string, id: string | null, message: Incoming, death: Death): Promise<void> {
    let to = this.#topics.get(from);
    if (to === undefined) this.#topics.set(from, (to = deadLetterTopic(from, this.#group)));
    const { topic, options, own } = letter(to, from, this.#group, id, message, death, this.#runtime.clock.wall());
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
      id,
      reason: reasonText(death.reason),
    });
  }
}
