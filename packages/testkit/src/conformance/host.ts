import { randomBytes } from "node:crypto";
import type { Host } from "@tallymq/core/spi";
import { realClock, realRandom } from "../real.ts";

/** Core's part, for a transport that is used without core: real time, real randomness, a run of its own. */
export function testHost(service = "conformance"): Host {
  return {
    service,
    run: randomBytes(16).toString("hex"),
    clock: realClock,
    random: realRandom,
  };
}
