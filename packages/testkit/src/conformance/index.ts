export type { Ability, ConformanceCase, Need, Outage, Rig } from "./case.ts";
export { conform, runCase, type Runner } from "./conform.ts";
export { applicability, type Applicability } from "./needs.ts";
export { portCases } from "./port/index.ts";
export { tallyCases } from "./tally/index.ts";
export type { EffectRig, StoreCase, StoreNeed, StoreRig } from "./stores/case.ts";
export { conformStore, storeCases } from "./stores/conform.ts";
