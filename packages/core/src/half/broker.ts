import type { Timer } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { idOf, type Incoming, type Outgoing } from "../message.ts";
import { raced } from "../raced.ts";
import type { Runtime } from "../runtime.ts";
import { SessionKeeper } from "../session/keeper.ts";
import type { Decision, HalfMessagePort, HalfSession } from "../port/half.ts";
import type { Sure, Verdict } from "../port/sending.ts";
import type { TopicPlan } from "../port/topic-plan.ts";

/** Answers the broker's question about a half message of one declaration. */
type Answer = (message: Incoming) => Promise<Decision>;

/** How often the broker is asked whether it has dropped any. */
const WATCH_MS = 30_000;
/** A question about the broker's own state, which may hang. */
const ASK_MS = 10_000;
const NO_SESSION = "no session for half messages";

/**
 * The broker's half messages: one session for all declared halves of this tally, kept open from the first declaration on, so
 * that this process is asked about those of processes that died.
 */
export class BrokerHalves {
  readonly #runtime: Runtime;
  readonly #port: HalfMessagePort;
  readonly #plans: Map<string, TopicPlan> = new Map();
  readonly #answers: Map<string, Answer> = new Map();
  readonly #closing: AbortController = new AbortController();
  #keeper: SessionKeeper<HalfSession> | null = null;
  #session: HalfSession | null = null;
  /**
   * Called when a session is there. Each is of one call: one promise for all of them would keep those who wait no more, for as
   * long as the broker is away.
   */
  readonly #waiting: Set<() => void> = new Set();
  #watch: Timer | null = null;
  #known: number | null = null;
  #dropped: { readonly messages: number; readonly at: number } | null = null;

  constructor(runtime: Runtime, port: HalfMessagePort) {
    this.#runtime = runtime;
    this.#port = port;
  }

  get refuses(): HalfMessagePort["refuses"] {
    return (topic) => this.#port.refuses(topic);
  }

  /** Dropped by the broker while this tally was open, of whatever service, and when the last were (monotonic); null: none. */
  get dropped(): { readonly messages: number; readonly at: number } | null {
    return this.#dropped;
  }

  declare(name: string, topic: TopicPlan, answer: Answer): void {
    this.#answers.set(name, answer);
    this.#plans.set(topic.name, topic);
    if (this.#keeper === null) {
      this.#keeper = this.#keep();
      void this.#look();
    } else if (this.#session !== null) void this.#add(this.#session, topic);
  }

  /** One copy. Never rejects; without a session until `signal` fires it is `unsent`. */
  async prepare(
    name: string,
    message: Outgoing,
    signal: AbortSignal,
  ): Promise<{ readonly verdict: Verdict; readonly handle: string | null; readonly session: HalfSession | null }> {
    const none = (verdict: Verdict): { verdict: Verdict; handle: null; session: null } => ({
      verdict,
      handle: null,
      session: null,
    });
    while (this.#session === null) {
      const opened = Promise.withResolvers<void>();
      this.#waiting.add(opened.resolve);
      try {
        await raced(opened.promise, signal);
      } catch {
        const trouble = this.#keeper?.trouble ?? null;
        const text = `${NO_SESSION}${trouble === null ? "" : `: ${trouble.message}`}`;
        return none({
          kind: "unsent",
          error: new TallyError("unreachable", text, { retryable: true, cause: trouble }),
        });
      } finally {
        this.#waiting.delete(opened.resolve);
      }
    }
    const session = this.#session;
    const plan = this.#plans.get(message.topic);
    try {
      if (plan !== undefined) await raced(session.add(plan, signal), signal);
      return { ...(await raced(session.prepare(name, message), signal)), session };
    } catch (thrown) {
      // Its answer is waited for no longer: the broker may have it.
      if (signal.aborted)
        return none({ kind: "doubt", error: new TallyError("in-doubt", "no answer in time", { retryable: true }) });
      const error = TallyError.is(thrown) ? thrown : new TallyError("topology", describe(thrown), { cause: thrown });
      return none(error.retryable ? { kind: "unsent", error } : { kind: "refused", error });
    }
  }

  /** One try, as far as the broker listens. Never rejects. @param session Which gave the handle: nobody else knows it. */
  async tell(session: HalfSession, message: Outgoing, handle: string, decision: "commit" | "rollback"): Promise<void> {
    await this.#asking((signal) => raced(session.decide(message, handle, decision), signal), undefined);
  }

  /** Never rejects: what cannot be seen is `unverified`. */
  async delivered(message: Outgoing): Promise<Sure> {
    return await this.#asking((signal) => this.#port.delivered(message, signal), "unverified");
  }

  /** For how long after it was prepared the broker asks about a half message, in milliseconds; null: unknown now. */
  async asksFor(): Promise<number | null> {
    return await this.#asking((signal) => this.#port.asksFor(signal), null);
  }

  async close(): Promise<void> {
    this.#closing.abort(new TallyError("closed", "the tally is closed"));
    this.#watch?.cancel();
    this.#session = null;
    await this.#keeper?.close();
  }

  #keep(): SessionKeeper<HalfSession> {
    const { clock, random, events, transport, reconnect, connectWithin } = this.#runtime;
    return new SessionKeeper<HalfSession>({
      role: "send",
      what: `${transport.name}: half messages`,
      clock,
      random,
      events,
      backoff: reconnect,
      connectWithin,
      open: (_epoch, lost, signal) =>
        this.#port.open(
          [...this.#plans.values()],
          { lost, asked: (name, message, answer) => void this.#asked(name, message, answer) },
          signal,
        ),
      opened: (session) => {
        this.#session = session;
        for (const go of this.#waiting) go();
        // Those that were declared while it was being opened.
        for (const plan of this.#plans.values()) void this.#add(session, plan);
      },
      dropped: () => {
        this.#session = null;
      },
    });
  }

  /** What fails here is tried again with the first message of the topic, and told there. */
  async #add(session: HalfSession, topic: TopicPlan): Promise<void> {
    await session.add(topic, this.#closing.signal).catch(() => {});
  }

  /** Who does not know says nothing: the broker asks somebody else, or again. */
  async #asked(name: string, message: Incoming, answer: (decision: Decision) => void): Promise<void> {
    const { service, events } = this.#runtime;
    const id = idOf(message);
    const known = this.#answers.get(name);
    if (id === null || known === undefined || message.producer !== service) return answer("unknown");
    let decision: Decision = "unknown";
    try {
      decision = await known(message);
    } catch (thrown) {
      events.emit({ type: "surfaced", what: `half ${name}`, text: `the broker was not answered: ${describe(thrown)}` });
    }
    failpoint("half.asked");
    if (this.#closing.signal.aborted) return;
    events.emit({ type: "half-asked", name, topic: message.topic, id, answer: decision });
    answer(decision);
  }

  async #asking<T>(question: (signal: AbortSignal) => Promise<T>, otherwise: T): Promise<T> {
    const late = new AbortController();
    const timer = this.#runtime.clock.after(ASK_MS, () => late.abort(new TallyError("deadline", "no answer")));
    try {
      return await question(AbortSignal.any([late.signal, this.#closing.signal]));
    } catch {
      return otherwise;
    } finally {
      timer.cancel();
    }
  }

  /** Those that were there before this tally was are nobody's news. */
  async #look(): Promise<void> {
    const { clock, events, transport } = this.#runtime;
    const sum = await this.#asking<number | null>((signal) => this.#port.dropped(signal), null);
    if (this.#closing.signal.aborted) return;
    if (sum !== null) {
      const more = this.#known === null ? 0 : sum - this.#known;
      if (more > 0) {
        this.#dropped = { messages: (this.#dropped?.messages ?? 0) + more, at: clock.now() };
        events.emit({ type: "half-dropped", what: transport.name, messages: more });
      }
      this.#known = sum;
    }
    this.#watch = clock.after(WATCH_MS, () => void this.#look());
  }
}
