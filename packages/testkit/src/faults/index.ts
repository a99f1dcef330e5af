export type { DeliverFaults, FaultPoint, FaultPoints, OpenFaults, SendFaults, SettleFaults } from "./points.ts";
export { FaultScript, type Faults, type FiredFault } from "./script.ts";
