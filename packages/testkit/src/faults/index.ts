export type { DeliverFaults, FaultPoint, FaultPoints, OpenFaults, SendFaults, SettleFaults } from "./points.ts";
export type { Faults, FiredFault } from "./script.ts";
