import { AssertionError } from "node:assert";
import type { Tally, TallyOptions } from "@tallymq/core";
import { applicability, runCase, tallyCases } from "@tallymq/testkit/conformance";
import { describe, expect, it, vi } from "vitest";
import { brokenRig } from "./broken.ts";
import { memoryRig } from "./memory-rig.ts";
import { type TallyMutant, tallyMutants } from "./tally-mutants.ts";

// The cases open their own tallies: the one that is wrong is put in the place of core's.
const now: { mutant: TallyMutant | null } = vi.hoisted(() => ({ mutant: null }));
vi.mock("@tallymq/core", async (original) => {
  const core = await original<typeof import("@tallymq/core")>();
  return {
    ...core,
    async openTally(options: TallyOptions): Promise<Tally> {
      const sound = await core.openTally(now.mutant?.options?.(options) ?? options);
      return { ...sound, ...now.mutant?.tally?.(sound) };
    },
  };
});

const LIMIT_MS = 400;
const { applicable, notApplicable } = await applicability(memoryRig(), tallyCases);

describe("a tally that is wrong in one thing fails the case for it", () => {
  it.each([...tallyMutants])("$name: $caughtBy", async (mutant) => {
    const found = applicable.find((c) => c.name === mutant.caughtBy)!;
    now.mutant = mutant;
    const failure: unknown = await runCase(found, brokenRig(memoryRig(LIMIT_MS), mutant.wrong ?? {})).then(
      () => null,
      (error: unknown) => error,
    );
    now.mutant = null;
    expect(failure, `"${mutant.caughtBy}" notices`).toBeInstanceOf(AssertionError);
  });
});

// Else a mutant might be caught by the short limit instead of the case. Retried, since the limit is short on a busy machine.
describe("under the same limit, what is sound passes", () => {
  it.each([...applicable])("$name", { retry: 3 }, async (c) => {
    await runCase(c, brokenRig(memoryRig(LIMIT_MS), {}));
  });
});

it("each case is proven by a mutant", () => {
  const proven = new Set(tallyMutants.map((m) => m.caughtBy));
  const away = new Set(notApplicable.map((c) => c.name));
  expect(tallyCases.map((c) => c.name).filter((name) => !proven.has(name) && !away.has(name))).toEqual([]);
});

it("each mutant names a case that exists", () => {
  expect(tallyMutants.map((m) => m.caughtBy).filter((name) => !applicable.some((c) => c.name === name))).toEqual([]);
});
