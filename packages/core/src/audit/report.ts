import type { AuditFinding, Severity } from "../port/audit.ts";

/**
 * What a finding about how safely messages are kept leads to: `enforce` refuses to start, `warn` says it, `off` does not
 * look.
 */
export type Durability = "warn" | "enforce" | "off";

/** What `tally.audit()` gives: plain data, fit for JSON. */
export interface AuditReport {
  /** Wall clock, milliseconds. */
  readonly at: number;
  /** The worst finding's severity; `ok` without any. */
  readonly status: Severity | "ok";
  /** Errors first. */
  readonly findings: readonly AuditFinding[];
}

const RANK: Readonly<Record<Severity, number>> = { error: 0, warning: 1, info: 2 };

export function sorted(findings: readonly AuditFinding[]): readonly AuditFinding[] {
  return findings.toSorted((a, b) => RANK[a.severity] - RANK[b.severity]);
}
