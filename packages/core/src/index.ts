export { bytes, type Codec, json } from "./codec.ts";
export type { Clock, Random, Timer } from "./clock.ts";
export type { Duration } from "./duration.ts";
export { TallyError, type ErrorCode, type TallyErrorOptions } from "./error.ts";
export {
  EVENT_CHANNEL,
  type Counters,
  type EventType,
  type Listener,
  type Role,
  type TallyEvent,
  type TallyEventBody,
} from "./events.ts";
export type { SchemaIssue, SchemaResult, StandardSchema } from "./schema.ts";
export type { Decision } from "./port/half.ts";
export type { Proof, Sure } from "./port/sending.ts";
export type { Broker, Traits } from "./port/transport.ts";
export type { OutboxMode, SpillPolicyOptions } from "./outbox/options.ts";
export type { InboxSpec, OutboxSpec, InboxStore, ParkedKey, Scope } from "./stores.ts";
export { topic, type Topic, type TopicOptions } from "./topic.ts";
export { deadLetter, delay, park, release, retry } from "./consume/rulings.ts";
export type {
  Consumer,
  ConsumerBuilder,
  ConsumerOptions,
  Context,
  Effect,
  Failure,
  Handler,
  Ruling,
  TxConsumerOptions,
  TxContext,
} from "./consume/options.ts";
export type { AuditReport } from "./audit/report.ts";
export type { AuditFinding, Severity } from "./port/audit.ts";
export type { HealthOptions } from "./health/options.ts";
export type { CheckName, Finding, Health, HealthCheck, HealthStatus } from "./health/report.ts";
export type { Parked } from "./park/parked.ts";
export type { ParkedKeys, ParkedLetter } from "./park/keys.ts";
export type { ParkedKeyName } from "./park/replays.ts";
export type { ParkedMessageRow, ParkedRows, RowPlace } from "./park/rows.ts";
export type {
  DeadLetter,
  DeadLetterQueue,
  ListOptions,
  LookOptions,
  PurgeOptions,
  PurgeResult,
  ReplayOptions,
  ReplayResult,
} from "./dead-letters/queue.ts";
export type { Half, HalfContext, HalfOptions, HalfReceipt, HalfRunOptions, UndecidedHalf } from "./half/options.ts";
export type { Platform } from "./platform/node.ts";
export type { Cause, Publication, PublishOptions, PublishPolicyOptions, Receipt } from "./publish/options.ts";
export { openTally } from "./open.ts";
export type { TallyOptions } from "./options.ts";
export type { Tally } from "./tally.ts";
