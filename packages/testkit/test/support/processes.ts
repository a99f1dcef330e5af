import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Transport } from "@tallymq/core/spi";
import { memory, type MemoryBrokerOptions, type MemoryBrokerProcess, startMemoryBroker } from "@tallymq/testkit";
import { afterEach, beforeEach } from "vitest";
import { realClock } from "../../src/real.ts";
import { NEVER, open, ORDERS } from "./harness.ts";

/** A folder for each test of the file, and the broker processes that it starts there. */
export interface Processes {
  readonly dir: string;
  /** Where they listen if not told otherwise. */
  readonly at: string;
  readonly start: (options?: Partial<MemoryBrokerOptions>) => Promise<MemoryBrokerProcess>;
  readonly transport: (address?: string) => Transport;
  /** A transport, the given one or a new one, that has declared `ORDERS`. */
  readonly declared: (transport?: Transport) => Promise<Transport>;
}

/** Registers the hooks that make and clear them away. */
export function processes(): Processes {
  let dir = "";
  let running: MemoryBrokerProcess[] = [];
  const at = (): string => `unix:${join(dir, "s")}`;
  const transport = (address: string = at()): Transport => open(memory({ at: address }), realClock);

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tally-"));
  });
  afterEach(async () => {
    for (const broker of running) await broker.kill();
    running = [];
    rmSync(dir, { recursive: true });
  });
  return {
    get dir() {
      return dir;
    },
    get at() {
      return at();
    },
    async start(options = {}) {
      const broker = await startMemoryBroker({ at: at(), dataDir: join(dir, "data"), ...options });
      running.push(broker);
      return broker;
    },
    transport,
    async declared(t = transport()) {
      await t.admin.declare([ORDERS], NEVER);
      return t;
    },
  };
}
