import { type Clock, type Outgoing, TallyError, type Verdict } from "@tallymq/core/spi";
import { propertyBytes } from "./codec.ts";
import { OK, type Sent, type Status } from "./driver/driver.ts";
import { meaningOf } from "./errors.ts";
import type { ResolvedOptions } from "./options.ts";

export type Limits = Pick<ResolvedOptions, "maxBytes">;

/** What the proxy takes of properties, less what it adds itself. */
const MOST_PROPERTIES = 15 * 1024;
/**
 * An answer that looks final comes for as long as a broker is away, and up to 20 s longer, from old caches: when it has come
 * for so long the brokers are asked.
 */
const CACHED_MS = 30_000;
const LATER_MS = 1_000;

/** Why a message cannot be sent, by itself; null: it can. */
export function faultOf(
  { id, body, native }: Outgoing,
  all: ReadonlyMap<string, string>,
  { maxBytes }: Limits,
): TallyError | null {
  if (body.length > maxBytes)
    return new TallyError("too-large", `${id} has ${body.length} bytes; rocketmq() takes ${maxBytes}`, { id });
  const [property] = Object.keys(native ?? {});
  if (property !== undefined)
    return new TallyError(
      "bad-message",
      `native has no property ${JSON.stringify(property.slice(0, 40))} on RocketMQ; there is none yet`,
      { id },
    );
  const bytes = propertyBytes(all);
  if (bytes > MOST_PROPERTIES)
    return new TallyError(
      "too-large",
      `${id} has ${bytes} bytes of headers and names; RocketMQ takes ${MOST_PROPERTIES}`,
      { id },
    );
  return null;
}

/** What the answers to sends mean, in one session. */
export class Verdicts {
  readonly #clock: Clock;
  readonly #accepted: () => Verdict;
  readonly #brokersSayNo: (topic: string) => Promise<boolean>;
  /** Since when a topic's sends are answered with what looks final; monotonic. */
  readonly #turnedAway: Map<string, number> = new Map();

  /** @param brokersSayNo Whether the brokers themselves say that they take nothing of the kind for this topic. */
  constructor(clock: Clock, accepted: () => Verdict, brokersSayNo: (topic: string) => Promise<boolean>) {
    this.#clock = clock;
    this.#accepted = accepted;
    this.#brokersSayNo = brokersSayNo;
  }

  /** Of each of `count` messages. `ofOne`: one of them is what is refused, and the broker does not say which. */
  async of(
    topic: string,
    answer: Sent,
    count: number,
  ): Promise<{ readonly verdict: Verdict; readonly ofOne: boolean }> {
    const all = (verdict: Verdict): { verdict: Verdict; ofOne: boolean } => ({ verdict, ofOne: false });
    if (vouched(answer, count)) {
      this.#turnedAway.delete(topic);
      return all(this.#accepted());
    }
    const status = answer.status.code === OK ? (answer.entries.find(notOk)?.status ?? answer.status) : answer.status;
    if (status.code === OK) return all(doubt(topic, "an OK without the id of what was stored"));
    const meaning = meaningOf(status);
    switch (meaning) {
      case "doubt":
        return all(doubt(topic, said(status)));
      case "later":
        return all(later(topic, status));
      case "unsafe":
        // Not plain doubt: for as long as a replica is away all of the topic fares the same, which is what "later" tells core.
        return all(later(topic, status, true));
      case "perhaps": {
        const since = this.#turnedAway.get(topic) ?? this.#clock.now();
        this.#turnedAway.set(topic, since);
        if (this.#clock.now() - since < CACHED_MS) return all(later(topic, status));
        if (!(await this.#brokersSayNo(topic))) return all(later(topic, status));
        return all({ kind: "refused", error: new TallyError("refused", `topic ${topic}: ${said(status)}`) });
      }
      case "refused":
      case "unauthorized":
      case "too-large": {
        const error = new TallyError(meaning, `topic ${topic}: ${said(status)}`);
        return { verdict: { kind: "refused", error }, ofOne: true };
      }
    }
  }
}

/**
 * OK, and the id of each message: one entry with all of them between commas, or one each. An OK without is what the proxy
 * also says of what it has not stored.
 */
function vouched({ status, entries }: Sent, count: number): boolean {
  if (status.code !== OK || entries.some(notOk)) return false;
  const ids = entries.flatMap(({ messageId }) => messageId.split(",")).filter((id) => id !== "");
  return ids.length === count;
}

function notOk({ status }: { readonly status: Status }): boolean {
  return status.code !== OK;
}

function said({ code, text }: Status): string {
  return `${text} (${code})`;
}

export function doubt(topic: string, why: string, cause?: unknown): Verdict {
  const words = `topic ${topic}: the broker's answer was lost, or is none: ${why}`;
  return { kind: "doubt", error: new TallyError("in-doubt", words, { mayArrive: true, retryable: true, cause }) };
}

function later(topic: string, status: Status, mayArrive = false): Verdict {
  const error = new TallyError("later", `topic ${topic}: ${said(status)}`, { retryable: true, mayArrive });
  return { kind: "later", error, afterMs: LATER_MS };
}
