import { conform, portCases, tallyCases } from "@tallymq/testkit/conformance";
import { afterAll, describe, expect, it } from "vitest";
import { startRabbit } from "../brokers/index.ts";
import { rabbitRig } from "./rabbitmq-rig.ts";

// A node of its own: cases kill it, block it and fill it. It starts while tests are collected, since which cases apply is
// asked of the adapter.
const node = await startRabbit();
afterAll(() => node.stop());
const rig = rabbitRig(node, await node.proxy());
const port = await conform({ describe, it }, rig, portCases);
const tally = await conform({ describe, it }, rig, tallyCases);

it("only these cases say nothing about RabbitMQ", () => {
  expect([...port.notApplicable, ...tally.notApplicable]).toEqual([
    { name: "a message has the same place each time it is delivered", needs: ["position"] },
  ]);
});
