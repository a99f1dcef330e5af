import type { TopicPlan } from "./topic-plan.ts";

/**
 * - `error`: messages or effects are lost or doubled in the ordinary run of things (a restart, a full queue). Refused under
 *   `durability: "enforce"`.
 * - `warning`: they are in a fault that will come some day.
 * - `info`: worth knowing; also what could not be looked at.
 */
export type Severity = "error" | "warning" | "info";

/** One thing that stands against the promises. Plain data; texts are one line and hold no secret. */
export interface AuditFinding {
  /** Name of the check, as in docs/audit.md. */
  readonly check: string;
  readonly severity: Severity;
  /** Queue, exchange, group … that it is about. */
  readonly what: string;
  /** What was found. */
  readonly text: string;
  /** What it leads to. */
  readonly why: string;
  /** A command or an option that puts it right. */
  readonly fix: string;
}

/** A topic that this process publishes to, or consumes for a group. */
export interface AuditSubject {
  readonly topic: TopicPlan;
  /** Null: it is published to. */
  readonly group: string | null;
  /** How long a delivery may be unsettled here, in milliseconds; 0: it is published to. */
  readonly holdsMs: number;
  /** Times that a message may be begun before it is given up; 0: it is published to. */
  readonly attempts: number;
  /** How old a row of the outbox may be whose copy may be there already, and that is sent all the same, in milliseconds; 0: none is stored. */
  readonly outboxMs: number;
  /** How long the inbox remembers what is done, in milliseconds; null: it has no part in this. */
  readonly remembersMs: number | null;
}

/** Looks at what topics have on a broker. */
export interface AuditPort {
  /** Makes and changes nothing. What cannot be seen is a finding of severity `info`. One try. @throws TallyError */
  look(subjects: readonly AuditSubject[], signal: AbortSignal): Promise<readonly AuditFinding[]>;
}
