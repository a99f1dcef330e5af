import { seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import type { HalfKind } from "../../src/half/kind.ts";
import { release } from "../../src/half/releasing.ts";
import type { PutResult } from "../../src/stores.ts";

/** A store that answers one after the other. */
function stage(...answers: readonly (PutResult | Error)[]) {
  const clock = virtualClock();
  const left = [...answers];
  const asked: number[] = [];
  const surfaced: string[] = [];
  const stop = new AbortController();
  const kind = {
    store: {
      release: (place: number) => {
        asked.push(place);
        const answer = left.shift()!;
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    },
    runtime: { clock, random: seededRandom(1) },
    closing: stop.signal,
  } as unknown as HalfKind;
  return { clock, asked, surfaced, stop, done: release(kind, 7, (text) => void surfaced.push(text)) };
}

describe("a committed half message", () => {
  it.each(["stored", "same", "conflict"] as const)("is %s: that is the end of it", async (answer) => {
    const { done, asked, surfaced, clock } = stage(answer);
    expect(await done).toBe(answer);
    expect(asked).toEqual([7]);
    expect(surfaced).toEqual([]);
    expect(clock.pending()).toBe(0);
  });

  it("waits for room in the outbox, and for a store that fails, however often", async () => {
    const { done, asked, surfaced, clock } = stage("full", new Error("disk"), "full", "stored");
    await clock.advance(0);
    expect(asked).toHaveLength(1);
    await clock.advance(20_000);
    expect(await done).toBe("stored");
    expect(asked).toEqual([7, 7, 7, 7]);
    expect(surfaced).toEqual([
      "a committed half message waits for room in the outbox",
      expect.stringContaining("a committed half message could not become a row"),
      "a committed half message waits for room in the outbox",
    ]);
  });

  it("is left to whoever opens the store next when the tally closes", async () => {
    const { done, stop, clock } = stage("full");
    await clock.advance(0);
    stop.abort(new TallyError("closed", "the tally is closed"));
    await expect(done).rejects.toMatchObject({ code: "closed" });
    expect(clock.pending()).toBe(0);
  });
});
