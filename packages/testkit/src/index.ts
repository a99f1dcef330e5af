export { seededRandom, virtualClock, type VirtualClock } from "./clock.ts";
export type { DeliverFaults, FaultPoint, FaultPoints, Faults, FiredFault, OpenFaults, SendFaults, SettleFaults } from "./faults/index.ts";
export { memory, type MemoryBroker, type MemoryOptions, type QueuedMessage } from "./memory/index.ts";
