export type { RecoveryReport } from "./broker/log/recover.ts";
export { seededRandom, virtualClock, type VirtualClock } from "./clock.ts";
export type {
  DeliverFaults,
  FaultPoint,
  FaultPoints,
  Faults,
  FiredFault,
  OpenFaults,
  SendFaults,
  SettleFaults,
} from "./faults/index.ts";
export {
  memory,
  type MemoryAtOptions,
  type MemoryBroker,
  type MemoryOptions,
  type QueuedMessage,
} from "./memory/index.ts";
export { collectGarbage, realClock, realRandom, turns } from "./real.ts";
export { type MemoryBrokerOptions, type MemoryBrokerProcess, startMemoryBroker } from "./start.ts";
export {
  type MemoryInbox,
  memoryInbox,
  type MemoryInboxOptions,
  type MemoryMark,
  type MemoryTx,
} from "./stores/inbox.ts";
export { type MemoryOutbox, memoryOutbox, type MemoryOutboxOptions } from "./stores/outbox.ts";
