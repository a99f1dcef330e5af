/**
 * - `closed`: `close()` was called.
 * - `unreachable`: a session has been down for a while.
 * - `blocked`: the broker has not read publishes for a while.
 * - `store`: outbox or inbox did not answer, or not in time.
 * - `stuck`: a message has had no verdict, or a row has waited in the outbox, for too long.
 * - `growing`: the outbox gets more rows than it gets rid of.
 * - `parked`: rows or ordered keys wait for a person.
 * - `breaker`: the broker does not take a topic's messages.
 * - `audit`: what `audit()`, or the look at a start, found: errors and warnings that stand.
 * - `paused`: a consumer has left a topic, whose bodies it could not read.
 */
export type CheckName =
  | "closed"
  | "unreachable"
  | "blocked"
  | "store"
  | "stuck"
  | "growing"
  | "parked"
  | "breaker"
  | "paused"
  | "audit";

/** `failing`: this process cannot do its work. `degraded`: it does, and somebody should look. */
export type HealthStatus = "ok" | "degraded" | "failing";

/** One thing that `health()` found. */
export interface Finding {
  /** What it is about: a destination, a topic and group, `outbox`, `inbox`. */
  readonly what: string;
  /** For a person. */
  readonly text: string;
  readonly status: Exclude<HealthStatus, "ok">;
}

/** One check; `ok` without findings. */
export interface HealthCheck {
  readonly name: CheckName;
  readonly status: HealthStatus;
  readonly findings: readonly Finding[];
}

/** What `tally.health()` gives: plain data, fit for JSON. */
export interface Health {
  /** The worst of the checks. */
  readonly status: HealthStatus;
  /** Whether to give this process work: open, and not failing. */
  readonly ready: boolean;
  /** All of them, those without findings too. */
  readonly checks: readonly HealthCheck[];
}

const WORSE: Readonly<Record<HealthStatus, number>> = { ok: 0, degraded: 1, failing: 2 };

/** The checks in one report. */
export function report(found: Readonly<Record<CheckName, readonly Finding[]>>): Health {
  const checks = (Object.keys(found) as CheckName[]).map((name) => {
    const findings = found[name];
    return { name, findings, status: worst(findings) };
  });
  const status = worst(checks);
  return { status, ready: status !== "failing", checks };
}

function worst(of: readonly { readonly status: HealthStatus }[]): HealthStatus {
  return of.reduce<HealthStatus>((all, { status }) => (WORSE[status] > WORSE[all] ? status : all), "ok");
}
