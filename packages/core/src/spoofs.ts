import { HEADER, parseAttempt, parseSeq } from "./message.ts";
import type { ReceiverEvents, Subscription } from "./port/receiving.ts";

/**
 * Says that a message has headers of ours that no Tally has written. Once a session: whoever floods us with such messages must
 * not flood the log too.
 */
export class Spoofs {
  readonly #subscription: Pick<Subscription, "topic" | "group">;
  readonly #events: Pick<ReceiverEvents, "surfaced">;
  #said = false;

  constructor(subscription: Pick<Subscription, "topic" | "group">, events: Pick<ReceiverEvents, "surfaced">) {
    this.#subscription = subscription;
    this.#events = events;
  }

  /** @param headers Of one message, by the names in `HEADER`; those of others may be among them. */
  look(headers: Readonly<Record<string, unknown>>): void {
    if (this.#said) return;
    const spoofed = spoofedHeaders(headers);
    if (spoofed.length === 0) return;
    this.#said = true;
    const { topic, group } = this.#subscription;
    this.#events.surfaced(
      `a message of ${topic.name} for ${group} has a ${spoofed.join(" and a ")} that no Tally has written: read as if it were not there`,
    );
  }
}

/**
 * The headers of ours that no Tally has written so: spoofed, or foreign by chance. They count as absent.
 */
export function spoofedHeaders(headers: Readonly<Record<string, unknown>>): readonly string[] {
  const { [HEADER.seq]: seq, [HEADER.attempt]: attempt } = headers;
  const spoofed: string[] = [];
  if (seq !== undefined && parseSeq(seq).seq === null) spoofed.push(HEADER.seq);
  const written = typeof attempt === "number" || typeof attempt === "string" ? String(attempt) : "";
  if (attempt !== undefined && String(parseAttempt(attempt)) !== written) spoofed.push(HEADER.attempt);
  return spoofed;
}
