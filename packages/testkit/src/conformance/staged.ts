import type { ConformanceCase, Need, Rig } from "./case.ts";
import { asFailure } from "./wait.ts";

/** A case that plays on a stage of its own, which is cleared away (and checked) after it. */
export function staged<S extends { end(): Promise<void> }>(
  name: string,
  needs: readonly Need[],
  set: (rig: Rig) => S,
  body: (stage: S) => Promise<void>,
): ConformanceCase {
  return {
    name,
    needs,
    async run(rig) {
      const stage = set(rig);
      try {
        await body(stage);
      } catch (error) {
        // The case's own error is the one to tell; what its debris does when cleared away is not.
        await stage.end().catch(() => {});
        throw asFailure(error);
      }
      await stage.end().catch((error: unknown) => {
        throw asFailure(error);
      });
    },
  };
}
