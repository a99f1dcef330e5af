// What adapters and stores implement and may use: types and small tools for them, in one place. Users import "@tallymq/core".
export type { Clock, Random, Timer } from "./clock.ts";
export { sleep } from "./clock.ts";
export type { Backoff } from "./backoff.ts";
export { fullJitter } from "./backoff.ts";
export { type AuditCheck, findingsOf, type Found, type Looked } from "./audit/checks.ts";
export type { AuditFinding, AuditPort, AuditSubject, Severity } from "./port/audit.ts";
export { describe, TallyError, textOf, type ErrorCode, type TallyErrorOptions } from "./error.ts";
export { HEADER, parseAttempt, parseSeq, RESERVED_PREFIX, type Incoming, type Outgoing } from "./message.ts";
export { Spoofs } from "./spoofs.ts";
export { DEAD_LETTERS } from "./dead-letters/letter.ts";
export { milliseconds, LONGEST_TIMER, type Duration } from "./duration.ts";
export {
  choice,
  duration,
  entries,
  flag,
  integer,
  resolveOptions,
  table,
  text,
  utf8Length,
  value,
  type Bounds,
  type Rule,
} from "./policy.ts";

export { type HostPort, hostPorts, readHostPort } from "./host-port.ts";
export { raced } from "./raced.ts";
export { OpenSessions } from "./session/open-sessions.ts";
export { coderOf, type Coder } from "./platform/zip.ts";
export { DEFAULT_TLS, resolveTls, type ResolvedTls, type TlsOptions } from "./tls.ts";
export { armFailpoints, type Failpoint, FAILPOINTS } from "./failpoints.ts";
export type { AdminPort, Broker, Host, MembersPort, Traits, Transport } from "./port/transport.ts";
export type { TopicPlan } from "./port/topic-plan.ts";
export type { Proof, Sender, SenderEvents, Sure, Verdict } from "./port/sending.ts";
export type { Delivery, Receiver, ReceiverEvents, Settlement, Subscription } from "./port/receiving.ts";
export type { Decision, HalfEvents, HalfMessagePort, HalfSession } from "./port/half.ts";
export * from "./stores.ts";
export * from "./half/store.ts";
