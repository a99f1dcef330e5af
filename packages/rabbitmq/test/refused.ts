import { inspect } from "node:util";
import { expect } from "vitest";
import { TallyError } from "@tallymq/core/spi";

/** A password as a URL has it. */
export const SECRET = "s3cr%C3%A9t";
const SPELLINGS = ["s3cr%C3%A9t", "s3crét"];

export function thrownBy(work: () => unknown): TallyError {
  try {
    work();
  } catch (thrown) {
    expect(TallyError.is(thrown)).toBe(true);
    return thrown as TallyError;
  }
  throw new Error("nothing was thrown");
}

export function withoutSecret(error: unknown, spellings: readonly string[] = SPELLINGS): void {
  const all = inspect(error, { depth: 10, showHidden: true });
  for (const spelling of spellings) expect(all).not.toContain(spelling);
}
