import { randomBytes } from "node:crypto";
import type { Host } from "@tallymq/core/spi";

/** Core's part, for a transport that is used without core: real time, real randomness, a run of its own. */
export function testHost(service = "conformance"): Host {
  return {
    service,
    run: randomBytes(16).toString("hex"),
    clock: {
      now: () => performance.now(),
      wall: () => Date.now(),
      after(ms, fn) {
        const timer = setTimeout(fn, ms);
        return { cancel: () => clearTimeout(timer) };
      },
    },
    random: { unit: () => Math.random(), bytes: (length) => new Uint8Array(randomBytes(length)) },
  };
}
