import { randomFillSync } from "node:crypto";
import { channel } from "node:diagnostics_channel";
import type { Clock, Random } from "../clock.ts";
import { EVENT_CHANNEL, type TallyEvent } from "../events.ts";

/** Everything that the policy layer takes from the machine it runs on. */
export interface Platform {
  readonly clock: Clock;
  readonly random: Random;
  /** Hands an event to the process's diagnostics channel; costs nothing while nobody listens. */
  diagnose(event: TallyEvent): void;
}

const POOL_BYTES = 4096;

/** Node's own clock, randomness and diagnostics channel. */
export function nodePlatform(): Platform {
  const events = channel(EVENT_CHANNEL);
  // One call into the operating system for 256 ids of 16 bytes.
  const pool = new Uint8Array(POOL_BYTES);
  let used = POOL_BYTES;
  return {
    clock: {
      now: () => performance.now(),
      wall: () => Date.now(),
      after(ms, fn) {
        const timer = setTimeout(fn, ms);
        return { cancel: () => clearTimeout(timer) };
      },
    },
    random: {
      unit: () => Math.random(),
      bytes(length) {
        if (length > POOL_BYTES) return randomFillSync(new Uint8Array(length));
        if (used + length > POOL_BYTES) {
          randomFillSync(pool);
          used = 0;
        }
        used += length;
        return pool.slice(used - length, used);
      },
    },
    diagnose(event) {
      if (events.hasSubscribers) events.publish(event);
    },
  };
}
