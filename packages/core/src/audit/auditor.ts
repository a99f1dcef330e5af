import type { Clock } from "../clock.ts";

import { describe, TallyError } from "../error.ts";
import type { Events } from "../events.ts";
import type { InboxStore } from "../stores.ts";
import type { AuditFinding, AuditPort, AuditSubject } from "../port/audit.ts";
import { type AuditReport, type Durability, sorted } from "./report.ts";
import { inboxFindings } from "./inbox.ts";

export interface AuditorOptions {
  readonly clock: Clock;
  readonly events: Events;
  readonly destination: string;
  readonly port: AuditPort | null;
  readonly durability: Durability;
  /** One look may take so long, in milliseconds. */
  readonly within: number;
  readonly inbox: Pick<InboxStore<unknown>, "id" | "scope"> | null;
  /** Whether a member of the group was seen that has another inbox. */
  apart(topic: string, group: string): boolean;
  /** Everything that is published to and consumed now. */
  subjects(): readonly AuditSubject[];
}

const UNAUDITED = "unaudited";

/**
 * Looks at how safely the broker keeps what it is given: at each start, and when asked. Under `warn` a start does not wait
 * for it; under `enforce` it does, and rejects (`unsafe`) for errors. What could not be looked at refuses nobody: a broker
 * that is away must not keep a service from starting that stores its messages meanwhile. It is looked at again as soon as a
 * session opens; nothing can be refused any more then, and what is found is an event and stands in `health()`.
 */
export class Auditor {
  readonly #o: AuditorOptions;
  /** Of the last look at each subject's things, by check and what it is about. */
  #known: Map<string, AuditFinding> = new Map();
  readonly #abort: AbortController = new AbortController();
  readonly #running: Set<Promise<unknown>> = new Set();
  /** What was to be looked at when it started, and could not. */
  #unseen: readonly AuditSubject[] = [];
  /** Sessions so far. */
  #sessions = 0;
  readonly #unlisten: () => void;

  constructor(options: AuditorOptions) {
    this.#o = options;
    this.#unlisten = options.events.on(({ type }) => {
      if (type !== "session-opened") return;
      this.#sessions++;
      this.#lookAgain();
    });
  }

  /** Errors and warnings of the looks so far, for `health()`. */
  get standing(): readonly AuditFinding[] {
    return sorted([...this.#known.values()].filter(({ severity }) => severity !== "info"));
  }

  /** A look at everything; never rejects for what it finds. @throws TallyError `closed` */
  async audit(): Promise<AuditReport> {
    const findings = await this.#look(this.#o.subjects());
    // All of it was looked at: what is not there any more has been put right.
    this.#known = new Map();
    this.#note(findings, false);
    return { at: this.#o.clock.wall(), status: findings[0]?.severity ?? "ok", findings };
  }

  /** For what starts now. @throws TallyError `unsafe`, with all errors in it, under `enforce` */
  async start(where: string, subjects: readonly AuditSubject[]): Promise<void> {
    const { durability } = this.#o;
    if (durability === "off" || subjects.length === 0) return;
    const looking = this.#first(subjects);
    if (durability === "warn") return this.#aside(looking);
    const errors = (await looking).filter(({ severity }) => severity === "error");
    if (errors.length === 0) return;
    throw new TallyError(
      "unsafe",
      `${where}: durability "enforce" refuses ${errors.length === 1 ? "this" : `these ${errors.length}`}: ${errors
        .map(({ check, what, text, fix }, i) => `${i + 1}. ${check}: ${what}: ${text}; fix: ${fix}`)
        .join(" ")}`,
    );
  }

  async close(): Promise<void> {
    this.#unlisten();
    this.#abort.abort(new TallyError("closed", "the tally is closed"));
    await Promise.allSettled(this.#running);
  }

  async #first(subjects: readonly AuditSubject[]): Promise<readonly AuditFinding[]> {
    const sessions = this.#sessions;
    const findings = await this.#look(subjects);
    this.#note(findings, true);
    if (findings.some(({ check }) => check === UNAUDITED)) {
      this.#unseen = [...this.#unseen, ...subjects];
      // The session that would have us look again has opened while we looked.
      if (this.#sessions !== sessions) this.#lookAgain();
    } else if (this.#unseen.length === 0) this.#known.delete(keyOf({ check: UNAUDITED, what: this.#o.destination }));
    return findings;
  }

  #lookAgain(): void {
    const subjects = this.#unseen;
    this.#unseen = [];
    if (subjects.length > 0) this.#aside(this.#first(subjects));
  }

  /** Nobody waits for it, but for `close()`. */
  #aside(looking: Promise<unknown>): void {
    const settled = looking.catch(() => {}).finally(() => this.#running.delete(settled));
    this.#running.add(settled);
  }

  async #look(subjects: readonly AuditSubject[]): Promise<readonly AuditFinding[]> {
    const { port, inbox, destination } = this.#o;
    this.#abort.signal.throwIfAborted();
    const ours = inboxFindings(subjects, inbox, (topic, group) => this.#o.apart(topic, group));
    if (port === null) return sorted(ours);
    try {
      return sorted([...ours, ...(await this.#within((signal) => port.look(subjects, signal)))]);
    } catch (thrown) {
      this.#abort.signal.throwIfAborted();
      return sorted([
        ...ours,
        {
          check: UNAUDITED,
          severity: "warning",
          what: destination,
          text: `it could not be looked at: ${describe(thrown)}`,
          why: "nobody knows how safely it keeps messages",
          fix: "make it reachable: it is looked at again when a session opens, or by await tally.audit()",
        },
      ]);
    }
  }

  async #within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, within } = this.#o;
    const limit = new AbortController();
    const timer = clock.after(within, () =>
      limit.abort(new TallyError("unreachable", `no answer within ${within} ms`, { retryable: true })),
    );
    const signal = AbortSignal.any([limit.signal, this.#abort.signal]);
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    try {
      return await Promise.race([work(signal), promise]);
    } finally {
      timer.cancel();
    }
  }

  /** Each is an event when it is new. */
  #note(findings: readonly AuditFinding[], fresh: boolean): void {
    for (const finding of findings) {
      const key = keyOf(finding);
      const known = this.#known.get(key);
      this.#known.set(key, finding);
      if (this.#o.durability === "off" || (fresh && known?.text === finding.text)) continue;
      this.#o.events.emit({ type: "audit-finding", ...finding });
    }
  }
}

function keyOf({ check, what }: Pick<AuditFinding, "check" | "what">): string {
  return `${check}\0${what}`;
}
