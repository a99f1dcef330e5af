import type { ConformanceCase } from "../case.ts";
import { consumingCases } from "./consuming.ts";
import { letterCases } from "./letters.ts";
import { tallyFaultCases } from "./faults.ts";
import { parkingCases } from "./parking.ts";
import { publishingCases } from "./publishing.ts";

/** What users are promised, over this transport. */
export const tallyCases: readonly ConformanceCase[] = [
  ...publishingCases,
  ...consumingCases,
  ...letterCases,
  ...parkingCases,
  ...tallyFaultCases,
];
