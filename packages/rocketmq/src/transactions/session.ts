import {
  type Clock,
  type HalfEvents,
  type HalfSession,
  type Outgoing,
  TallyError,
  type TopicPlan,
  type Verdict,
} from "@tallymq/core/spi";
import { bodyOf, HALF, incoming, keysOf, properties } from "../codec.ts";
import { type HalfAt, type InMessage, type Link, OK, type Sent, StatusError } from "../driver/driver.ts";
import { classify } from "../errors.ts";
import { doubt, faultOf, type Limits, Verdicts } from "../verdicts.ts";
import { halfId } from "./identity.ts";

export interface HalfSessionOptions {
  /** What half messages of a topic are sent to. @throws TallyError */
  topicOf(topic: string): string;
  /** Makes what is missing. */
  declare(plan: TopicPlan, signal: AbortSignal): Promise<void>;
  accepted(): Verdict;
  /** Whether the brokers themselves say that they take nothing of the kind for this topic. */
  turnedAway(topic: string): Promise<boolean>;
  /** The session has closed its connection. */
  readonly ended: (session: AsyncDisposable) => void;
  readonly clock: Clock;
  readonly limits: Limits;
}

const OVER: { readonly verdict: Verdict; readonly handle: null } = Object.freeze({
  verdict: { kind: "unsent", error: new TallyError("unsent", "the session is over", { retryable: true }) },
  handle: null,
});

/** One connection to one proxy, which knows it as a producer of these topics: so it is asked about their half messages. */
export class RocketHalfSession implements HalfSession {
  readonly #o: HalfSessionOptions;
  readonly #events: HalfEvents;
  readonly #verdicts: Verdicts;
  /** By their names on the broker: ours. */
  readonly #topics: Map<string, string> = new Map();
  #link: Link | null = null;
  #over = false;
  #disposed: Promise<void> | null = null;

  constructor(events: HalfEvents, options: HalfSessionOptions) {
    this.#events = events;
    this.#o = options;
    this.#verdicts = new Verdicts(
      options.clock,
      () => options.accepted(),
      (topic) => options.turnedAway(topic),
    );
  }

  get topics(): readonly string[] {
    return [...this.#topics.keys()];
  }

  /** One that is declared, before the link is there. */
  know({ name }: TopicPlan): void {
    this.#topics.set(this.#o.topicOf(name), name);
  }

  use(link: Link): void {
    this.#link = link;
  }

  async add(plan: TopicPlan, signal: AbortSignal): Promise<void> {
    if (this.#topics.has(this.#o.topicOf(plan.name))) return;
    await this.#o.declare(plan, signal);
    this.know(plan);
    // A proxy that is not told asks for up to five minutes nobody about a topic that came later.
    this.#link?.announce(this.topics);
  }

  async prepare(
    name: string,
    message: Outgoing,
  ): Promise<{ readonly verdict: Verdict; readonly handle: string | null }> {
    const link = this.#link;
    if (this.#over || link === null) return OVER;
    const all = new Map([...properties(message), [HALF, encodeURIComponent(name)]]);
    const error = faultOf(message, all, this.#o.limits);
    if (error !== null) return { verdict: { kind: "refused", error }, handle: null };
    const topic = this.#o.topicOf(message.topic);
    const out = {
      topic,
      messageId: await halfId(message),
      keys: keysOf(message),
      properties: all,
      body: bodyOf(message),
      messageGroup: null,
      deliverAt: null,
      bornAt: this.#o.clock.wall(),
      half: true,
    };
    let sent: Sent;
    try {
      sent = await link.send([out]);
    } catch (thrown) {
      return { verdict: doubt(topic, classify(thrown, topic, "open").message, thrown), handle: null };
    }
    const { verdict } = await this.#verdicts.of(topic, sent, 1);
    const handle = sent.entries[0]?.transactionId ?? "";
    // Stored, perhaps, and its handle with it: a half message has no later.
    if (verdict.kind === "later" && verdict.error.mayArrive)
      return { verdict: doubt(topic, verdict.error.message, verdict.error), handle: null };
    if (verdict.kind !== "accepted") return { verdict, handle: null };
    if (handle === "") return { verdict: doubt(topic, "an OK without the id of the transaction"), handle: null };
    return { verdict, handle };
  }

  async decide(message: Outgoing, handle: string, decision: "commit" | "rollback"): Promise<void> {
    const topic = this.#o.topicOf(message.topic);
    await this.#tell({ topic, messageId: await halfId(message), transactionId: handle }, decision, false);
  }

  /** The broker asks. One whose topic or half is not ours is for somebody else. */
  asked(half: HalfAt, given: InMessage): void {
    const topic = this.#topics.get(half.topic);
    const name = nameOf(given);
    if (this.#over || topic === undefined || name === null) return;
    this.#events.asked(name, incoming(topic, given), (decision) => {
      if (decision === "unknown") return;
      // Whether it came there, the next question tells, or its absence.
      this.#tell(half, decision, true).catch(() => {});
    });
  }

  /** Its end may come in one piece with its beginning, before there is a link to use. */
  lost(thrown: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.lost(classify(thrown, this.#link?.endpoint ?? "the proxy", "open"));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    this.#disposed ??= this.#close();
    return this.#disposed;
  }

  async #close(): Promise<void> {
    await this.#link?.close();
    this.#o.ended(this);
  }

  async #tell(half: HalfAt, decision: "commit" | "rollback", asked: boolean): Promise<void> {
    if (this.#link === null) return;
    const status = await this.#link.decide(half, decision, asked);
    if (status.code !== OK) throw classify(new StatusError(status), half.topic, "open");
  }
}

function nameOf({ properties: all }: InMessage): string | null {
  try {
    return decodeURIComponent(all.get(HALF) ?? "") || null;
  } catch {
    return null;
  }
}
