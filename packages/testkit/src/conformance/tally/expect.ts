import assert from "node:assert/strict";
import { type ErrorCode, TallyError } from "@tallymq/core";

/** The typed error that this has to end with. */
export function rejects(work: Promise<unknown>, code: ErrorCode): Promise<TallyError> {
  return work.then(
    () => assert.fail(`expected a rejection with ${code}; it resolved`),
    (error: unknown) => {
      assert.ok(TallyError.is(error), `expected a TallyError with ${code}; got ${String(error)}`);
      assert.equal(error.code, code);
      return error;
    },
  );
}

/** No copy can arrive any more. */
export function definite(error: TallyError): void {
  assert.equal(error.mayArrive, false, `expected ${error.code} to be definite`);
}
