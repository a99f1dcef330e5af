import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { memory, startMemoryBroker } from "@tallymq/testkit";
import { conform, portCases, type Rig, tallyCases } from "@tallymq/testkit/conformance";
import { afterAll, describe, expect, it } from "vitest";
import { Relay } from "./relay.ts";

// A process of its own, killed with -9 by the cases that ask for it; clients reach it through a relay that can be cut.
const dir = mkdtempSync(join(tmpdir(), "tally-"));
const broker = await startMemoryBroker({ at: `unix:${join(dir, "broker")}`, dataDir: join(dir, "data") });
const relay = await Relay.listen(join(dir, "relay"), join(dir, "broker"));
afterAll(async () => {
  relay.close();
  await broker.kill();
  rmSync(dir, { recursive: true });
});

let topics = 0;
const rig: Rig = {
  name: "memory({ at })",
  broker: () => memory({ at: `unix:${join(dir, "relay")}` }),
  topic: (stem) => `${stem}-${++topics}`,
  limitMs: 8_000,
  quietMs: 60,
  fetch: 0,
  endsWithConnection: true,
  kill: { begin: () => broker.kill(), end: () => broker.restart() },
  cut: async () => relay.cut(),
  pause: { begin: async () => relay.hold(true), end: async () => relay.hold(false) },
  block: { begin: () => broker.block("memory"), end: () => broker.unblock() },
  // It nacks when a group is full, and then for every message of the topic: shown in memory/process.test.ts.
  nack: null,
  foreign: null,
};
const port = await conform({ describe, it }, rig, portCases);
const tally = await conform({ describe, it }, rig, tallyCases);

it("only these cases say nothing about the embedded broker as a process", () => {
  expect([...port.notApplicable, ...tally.notApplicable]).toEqual([
    { name: "what the broker does not store now comes back as later, and may be sent again", needs: ["nack"] },
    { name: "a foreign message arrives with null for what its sender did not say", needs: ["foreign"] },
    { name: "a message has the same place each time it is delivered", needs: ["position"] },
    { name: "members of a group see each other's cards, whoever came first; nobody else does", needs: ["members"] },
    { name: "a member that has left is not seen, and does not see", needs: ["members"] },
    { name: "a foreign message without an id is handled and settled", needs: ["foreign"] },
    { name: "a nack is asked again until the message is accepted", needs: ["nack"] },
  ]);
});
