import { AssertionError } from "node:assert";
import { applicability, portCases, runCase } from "@tallymq/testkit/conformance";
import { describe, expect, it } from "vitest";
import { brokenRig, type Mutant } from "./broken.ts";
import { copiesMutants } from "./copies-mutants.ts";
import { envelopeMutants } from "./envelope-mutants.ts";
import { membersMutants } from "./members-mutants.ts";
import { memoryRig } from "./memory-rig.ts";
import { receivingMutants } from "./receiving-mutants.ts";
import { sendingMutants } from "./sending-mutants.ts";
import { sessionMutants } from "./session-mutants.ts";

/** What is missing is waited for so long: the sound adapter needs a few milliseconds. */
const LIMIT_MS = 400;
const mutants: readonly Mutant[] = [
  ...sendingMutants,
  ...envelopeMutants,
  ...copiesMutants,
  ...sessionMutants,
  ...receivingMutants,
  ...membersMutants,
];
const { applicable } = await applicability(memoryRig(), portCases);
const caught = mutants.flatMap((mutant) =>
  applicable.filter((c) => c.name === mutant.caughtBy).map((found) => ({ ...mutant, found })),
);
// What comes too early looks right to a process that is late itself, which the others at once would make it.
const timed = caught.filter(({ found }) => found.needs.includes("delay"));

describe("an adapter that is wrong in one thing fails the case for it", () => {
  it.concurrent.each(caught.filter((each) => !timed.includes(each)))("$name", notices);
  it.each(timed)("$name", notices);
});

async function notices({ found, wrong }: (typeof caught)[number]): Promise<void> {
  const failure: unknown = await runCase(found, brokenRig(memoryRig(LIMIT_MS), wrong)).then(
    () => null,
    (error: unknown) => error,
  );
  expect(failure, `"${found.name}" notices`).not.toBeNull();
  expect(failure).toBeInstanceOf(AssertionError);
}

// Else a mutant might be caught by the short limit instead of the case. Retried, since the limit is short on a busy machine.
describe("under the same limit, what is sound passes", () => {
  it.each([...applicable])("$name", { retry: 3 }, async (c) => {
    await runCase(c, brokenRig(memoryRig(LIMIT_MS), {}));
  });
});

it("each case is proven by a mutant", () => {
  const proven = new Set(mutants.map((m) => m.caughtBy));
  expect(portCases.map((c) => c.name).filter((name) => !proven.has(name))).toEqual([]);
});

it("each mutant names a case that exists", () => {
  expect(mutants.map((m) => m.caughtBy).filter((name) => !portCases.some((c) => c.name === name))).toEqual([]);
});
