import { conform, portCases, tallyCases } from "@tallymq/testkit/conformance";
import { afterAll, describe, expect, it } from "vitest";
import { startRocket } from "../brokers/index.ts";
import { rocketRig } from "./rocketmq-rig.ts";

// A node of its own: cases kill it. It starts while tests are collected, since which cases apply is asked of the adapter.
const node = await startRocket();
afterAll(() => node.stop());
const rig = rocketRig(node);

const port = await conform({ describe, it }, rig, portCases);
const tally = await conform({ describe, it }, rig, tallyCases);

it("only these cases say nothing about RocketMQ", () => {
  const cases = [...port.notApplicable, ...tally.notApplicable].map(({ name, needs }) => `${needs.join()}: ${name}`);
  expect(cases.toSorted()).toEqual(
    [
      "block: a blocked sender says so, and its copies are accepted once it is unblocked",
      "block: while publishers are blocked publish waits, and consumers go on",
      "count: a redelivery has a higher count",
      "inplace: a replay whose connection is cut loses nothing, and no effect comes twice",
      "inplace: dead letters are listed without being taken, and replayed in order to their group alone",
      "members: a member that has left is not seen, and does not see",
      "members: members of a group see each other's cards, whoever came first; nobody else does",
      "nack: a nack is asked again until the message is accepted",
      "nack: what the broker does not store now comes back as later, and may be sent again",
      "position: a message has the same place each time it is delivered",
      "unroutable: a copy for a group that is not there is unroutable",
      "unroutable: unroutable is a verdict of that copy alone",
      "unroutable: unroutable rejects, definitely, and only that message",
    ].toSorted(),
  );
});
