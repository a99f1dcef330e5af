import { memoryOutbox, seededRandom, virtualClock } from "@tallymq/testkit";
import { expect } from "vitest";
import { TallyError } from "../../src/error.ts";
import type { PublishOptions } from "../../src/publish/options.ts";
import { type Topic, topic } from "../../src/topic.ts";
import { rig, watch } from "./scripted-transport.ts";

/** A secret in a wrong place: no error may show it. */
export const CANARY = "canary-4711";

const plain = topic("plain");

/**
 * What `publish()` rejects with. At the call, before the outbox: nothing is sent, nothing stored, nothing left over, and
 * the window is free again.
 */
export async function refused(body: unknown, options: PublishOptions = {}, over: object = plain): Promise<TallyError> {
  const seen: TallyError[] = [];
  for (const outbox of ["off", "always"] as const) {
    const store = memoryOutbox();
    const host = { clock: virtualClock(), random: seededRandom(1), surfaced: () => {} };
    const r = rig({
      window: 1,
      spill: { store: await store.openOutbox(host), policy: { after: 1_000, relayWindow: 100 } },
    });
    const publishing = watch(r.publisher.publish({ ...(over as Topic<unknown>), outbox }, body, options));
    for (let i = 0; i < 12; i++) await r.clock.advance(0);
    expect(publishing.state).toBe("rejected");
    expect(TallyError.is(publishing.error)).toBe(true);
    expect([r.copies, store.rows, r.publisher.live, r.count("rejected")]).toEqual([[], [], 0, 1]);
    void r.publisher.publish(plain, 1, { id: "next" });
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["next"]);
    seen.push(publishing.error as TallyError);
  }
  const [direct, stored] = seen;
  expect(stored!.message).toBe(direct!.message);
  expect(direct!.message).not.toContain(CANARY);
  return direct!;
}

/** The TallyError that `work` throws, or rejects with. */
export async function thrownBy(work: () => unknown): Promise<TallyError> {
  try {
    await work();
  } catch (thrown) {
    expect(TallyError.is(thrown)).toBe(true);
    expect(`${(thrown as Error).stack} ${String((thrown as Error).cause)} ${JSON.stringify(thrown)}`).not.toContain(
      CANARY,
    );
    return thrown as TallyError;
  }
  throw new Error("nothing was thrown");
}
