import { fullJitter } from "../backoff.ts";
import { sleep } from "../clock.ts";
import { failpoint } from "../failpoints.ts";
import { storeError } from "../inbox/claims.ts";
import type { PutResult } from "../stores.ts";
import type { HalfKind } from "./kind.ts";

const BACKOFF = { min: 100, max: 5_000 };

/**
 * A committed half message becomes a row of the outbox; its key waits meanwhile. `conflict`: the outbox has a row of the same
 * id with another body, and it never will.
 * @throws TallyError when the tally closes: whoever opens the store goes on
 */
export async function release(
  { store, runtime, closing }: Pick<HalfKind, "store" | "runtime" | "closing">,
  place: number,
  surfaced: (text: string) => void,
): Promise<Exclude<PutResult, "full">> {
  for (let tries = 1; ; tries++) {
    try {
      const result = await store.release(place);
      if (result !== "full") {
        if (result !== "conflict") failpoint("half.released");
        return result;
      }
      surfaced("a committed half message waits for room in the outbox");
    } catch (thrown) {
      surfaced(storeError("a committed half message could not become a row", thrown).message);
    }
    await sleep(runtime.clock, Math.max(1, fullJitter(BACKOFF, tries, runtime.random)), closing);
  }
}
