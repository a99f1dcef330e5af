import type { ConformanceCase, Rig } from "./case.ts";
import { type Applicability, applicability } from "./needs.ts";
import { within } from "./wait.ts";

/** The two functions that vitest, node:test, mocha and others have in common. */
export interface Runner {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void> | void, timeoutMs?: number): unknown;
}

/** A whole case may take so many `limitMs`; each of its waits has one. */
const WAITS_A_CASE = 5;

/**
 * Registers one test for each case: `await conform({ describe, it }, rig, portCases)` at the top of a test file. A case
 * whose needs are not met is listed by name, as not applicable; what is answered says the same, for a test that pins
 * which these are.
 */
export async function conform(runner: Runner, rig: Rig, cases: readonly ConformanceCase[]): Promise<Applicability> {
  const names = new Set(cases.map((c) => c.name));
  if (names.size !== cases.length) throw new Error("two conformance cases have the same name");
  const found = await applicability(rig, cases);
  runner.describe(`${rig.name} conforms`, () => {
    for (const c of found.applicable) runner.it(c.name, () => runCase(c, rig), 2 * WAITS_A_CASE * rig.limitMs);
    for (const { name, needs } of found.notApplicable)
      runner.it(`not applicable: ${needs.join(", ")}: ${name}`, () => {});
  });
  return found;
}

/** One case, bounded in time. */
export async function runCase(c: ConformanceCase, rig: Rig): Promise<void> {
  await within(WAITS_A_CASE * rig.limitMs, `the case "${c.name}" to end`, c.run(rig));
}
