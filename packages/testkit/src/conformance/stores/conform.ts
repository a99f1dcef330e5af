import type { Runner } from "../conform.ts";
import { within } from "../wait.ts";
import type { StoreCase, StoreNeed, StoreRig } from "./case.ts";
import { halfCases } from "./halves.ts";
import { inboxCases } from "./inbox.ts";
import { leaseCases } from "./lease.ts";
import { manyCases } from "./many.ts";
import { outboxCases } from "./outbox.ts";
import { parkingCases } from "./parking.ts";
import { transactionCases } from "./transactions.ts";

/** What a store owes core. */
export const storeCases: readonly StoreCase[] = [
  ...outboxCases,
  ...leaseCases,
  ...manyCases,
  ...halfCases,
  ...inboxCases,
  ...parkingCases,
  ...transactionCases,
];

/** Registers one test for each case, as `conform` does for brokers; answers which say nothing about this store. */
export function conformStore(
  runner: Runner,
  rig: StoreRig,
  cases: readonly StoreCase[] = storeCases,
): readonly string[] {
  if (new Set(cases.map((c) => c.name)).size !== cases.length)
    throw new Error("two conformance cases have the same name");
  const lacks = (c: StoreCase): readonly StoreNeed[] => c.needs.filter((need) => rig[need] === null);
  runner.describe(`${rig.name} conforms`, () => {
    for (const c of cases) {
      const missing = lacks(c);
      if (missing.length > 0) runner.it(`not applicable: ${missing.join(", ")}: ${c.name}`, () => {});
      else
        runner.it(c.name, () => within(5 * rig.limitMs, `the case "${c.name}" to end`, c.run(rig)), 10 * rig.limitMs);
    }
  });
  return cases.filter((c) => lacks(c).length > 0).map((c) => c.name);
}
