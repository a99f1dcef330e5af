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
  // This broker answers within a microtask: a fault that comes from outside finds nothing in flight. So the next copies
  // are what ends the sessions, the last one unanswered and not stored; where nothing is sent, they end by themselves.
  const strike = async (): Promise<void> => {
    const before = faults.fired.length;
    faults.on("send", 3).loseSession({ stored: false });
    for (let turn = 0; turn < 20 && !faults.fired.slice(before).some((f) => f.action === "loseSession"); turn++)
      await new Promise((resolve) => setImmediate(resolve));
    faults.clear();
    faults.loseSessions();
  };
  return {
    name: "memory()",
    broker: () => broker,
    topic: (stem) => `${stem}-${++topics}`,
    limitMs,
    quietMs: 40,
    fetch: 0,
    endsWithConnection: true,
    kill: {
      async begin() {
        await strike();
        for (const point of ["open", "declare"] as const) faults.every(point, 1).fail();
      },
      end: async () => faults.clear(),
    },
    cut: strike,
    pause: whileArmed(() => faults.every("send", 1).dropVerdict()),
    block: { begin: async () => faults.block("memory"), end: async () => faults.unblock() },
    async nack() {
      faults.every("send", 1).nack();
      return async () => faults.clear();
    },
    foreign: null,
  };
}
