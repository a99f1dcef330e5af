import type { ConformanceCase } from "../case.ts";
import { adminCases } from "./admin.ts";
import { copyCases } from "./copies.ts";
import { envelopeCases } from "./envelope.ts";
import { faultCases } from "./faults.ts";
import { memberCases } from "./members.ts";
import { orderCases } from "./order.ts";
import { receivingCases } from "./receiving.ts";
import { sessionCases } from "./sessions.ts";
import { settlementCases } from "./settlement.ts";
import { verdictCases } from "./verdicts.ts";

/** What an adapter owes core. */
export const portCases: readonly ConformanceCase[] = [
  ...verdictCases,
  ...envelopeCases,
  ...copyCases,
  ...sessionCases,
  ...receivingCases,
  ...settlementCases,
  ...adminCases,
  ...memberCases,
  ...orderCases,
  ...faultCases,
];
