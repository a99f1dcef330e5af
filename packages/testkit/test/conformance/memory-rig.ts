import { memory } from "@tallymq/testkit";
import type { Outage, Rig } from "@tallymq/testkit/conformance";

/** One embedded broker in this process. It has no raw client: `foreign` is not for it. */
export function memoryRig(limitMs = 3_000): Rig {
  const broker = memory();
  const { faults } = broker;
  let topics = 0;
  const whileArmed = (arm: () => void): Outage => ({
    begin: async () => arm(),
    end: async () => faults.clear(),
  });
  return {
    name: "memory()",
    broker: () => broker,
    topic: (stem) => `${stem}-${++topics}`,
    limitMs,
    quietMs: 40,
    fetch: 0,
    kill: whileArmed(() => {
      for (const point of ["open", "declare"] as const) faults.every(point, 1).fail();
      faults.loseSessions();
    }),
    cut: async () => faults.loseSessions(),
    pause: whileArmed(() => faults.every("send", 1).dropVerdict()),
    block: { begin: async () => faults.block("memory"), end: async () => faults.unblock() },
    async nack() {
      faults.every("send", 1).nack();
      return async () => faults.clear();
    },
    foreign: null,
  };
}
