import { once } from "node:events";
import { join } from "node:path";
import { openTally, topic } from "@tallymq/core";
import { memory, startMemoryBroker } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { Child } from "./child.ts";
import { scratch } from "./rig.ts";

const directory = scratch();

describe("kills the process each time (crash poison): counted as started attempts; dead-lettered after the limit", () => {
  it("with real processes: three of them die of it, the fourth buries it without a start and does the rest", async () => {
    const at = `unix:${join(directory, "broker")}`;
    await using broker = await startMemoryBroker({ at, dataDir: join(directory, "data") });
    const orders = topic<string>("orders", { groups: ["billing"] });
    {
      await using tally = await openTally({ service: "web", broker: memory({ at }) });
      for (const id of ["poison", "innocent-1", "innocent-2"]) await tally.publish(orders, "x", { id });
    }
    const starts: string[] = [];
    for (let n = 0; n < 3; n++) {
      const child = new Child("poison-process.ts", at, join(directory, "inbox.db"));
      const [, signal] = (await once(child.process, "exit")) as [number | null, string | null];
      expect(signal).toBe("SIGKILL");
      starts.push(...child.lines.filter((line) => line.startsWith("start")));
    }
    const last = new Child("poison-process.ts", at, join(directory, "inbox.db"));
    try {
      await expect
        .poll(() => last.lines.filter((line) => line.startsWith("dead")), { timeout: 20_000 })
        .toEqual(["dead poison: started 3 times, and never done"]);
      await expect
        .poll(() => broker.messages("orders", "billing").then((left) => left.length), { timeout: 20_000 })
        .toBe(0);
      starts.push(...last.lines.filter((line) => line.startsWith("start")));
    } finally {
      await last.kill();
    }
    expect(starts.filter((line) => line === "start poison")).toHaveLength(3);
    // Each took effect; one that ran in a process that died afterwards was marked, or ran again.
    for (const id of ["innocent-1", "innocent-2"]) expect(starts).toContain(`start ${id}`);
    const letters = await broker.messages("orders.billing.dead-letters", "dead-letters");
    expect(letters.map(({ message }) => [message.id, message.headers["dead-attempts"]])).toEqual([["poison", "3"]]);
  }, 90_000);
});
