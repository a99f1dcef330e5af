import { conform, portCases, tallyCases } from "@tallymq/testkit/conformance";
import { describe, expect, it } from "vitest";
import { memoryRig } from "./memory-rig.ts";

// One broker for all cases, as a real one would be; each case has its own topics.
const rig = memoryRig();
const port = await conform({ describe, it }, rig, portCases);
const tally = await conform({ describe, it }, rig, tallyCases);

it("only these cases say nothing about the embedded broker as a library", () => {
  expect([...port.notApplicable, ...tally.notApplicable]).toEqual([
    { name: "a foreign message arrives with null for what its sender did not say", needs: ["foreign"] },
    { name: "a message has the same place each time it is delivered", needs: ["position"] },
    { name: "a foreign message without an id is handled and settled", needs: ["foreign"] },
  ]);
});
