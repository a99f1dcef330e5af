// Transactions of the broker's own kind.
import type { TallyError } from "../error.ts";
import type { Incoming, Outgoing } from "../message.ts";
import type { Sure, Verdict } from "./sending.ts";
import type { TopicPlan } from "./topic-plan.ts";

/** Whether the work of a half message was done. `unknown`: nobody can say yet. */
export type Decision = "commit" | "rollback" | "unknown";

/** Half messages that the broker itself keeps: handed out when they are committed, and asked about while they are not. */
export interface HalfMessagePort {
  /** Pure: why this broker keeps no half messages of such a topic, by name (`unsupported`); null: it does. */
  refuses(topic: TopicPlan): TallyError | null;
  /**
   * Makes what half messages of these topics need, and opens a session: from here on it may be asked about each half message of
   * them, whoever sent it. One try, core repeats it.
   */
  open(topics: readonly TopicPlan[], events: HalfEvents, signal: AbortSignal): Promise<HalfSession>;
  /** Whether consumers have it, or get it: the only proof that a commit took. `no`: not yet. One try. */
  delivered(message: Outgoing, signal: AbortSignal): Promise<Sure>;
  /** The broker asks no more about a half message that is so old, in milliseconds, and drops it. One try. */
  asksFor(signal: AbortSignal): Promise<number>;
  /** How many half messages the broker has dropped so far, of whatever service. One try. */
  dropped(signal: AbortSignal): Promise<number>;
}

/** A session that ends gives each open `prepare` its `doubt` or `unsent`. */
export interface HalfSession extends AsyncDisposable {
  /** One topic more, as with `open`. Idempotent. */
  add(topic: TopicPlan, signal: AbortSignal): Promise<void>;
  /**
   * One copy of a half message, and the handle by which it can be decided in this session for a while; null unless accepted.
   * Never rejects.
   * @param name Of the declared half: comes back with each question.
   */
  prepare(name: string, message: Outgoing): Promise<{ readonly verdict: Verdict; readonly handle: string | null }>;
  /** A hint to the broker: that it resolves is no proof, and the recorded decision is the truth. */
  decide(message: Outgoing, handle: string, decision: "commit" | "rollback"): Promise<void>;
}

/** Synchronous. */
export interface HalfEvents {
  /** The broker asks. `unknown`, or no answer: it asks again. @param answer To be called once at most. */
  asked(name: string, message: Incoming, answer: (decision: Decision) => void): void;
  /** The session is over, whoever ended it except `dispose`. Once. */
  lost(error: TallyError): void;
}
