import { conform, portCases, tallyCases } from "@tallymq/testkit/conformance";
import { afterAll, describe, expect, it } from "vitest";
import { startKafka } from "../brokers/index.ts";
import { kafkaRig } from "./kafka-rig.ts";

// A node of its own: cases kill it. It starts while tests are collected, since which cases apply is asked of the adapter.
const node = await startKafka();
afterAll(() => node.stop());
const rig = kafkaRig(node);
const port = await conform({ describe, it }, rig, portCases);
const tally = await conform({ describe, it }, rig, tallyCases);

it("only these cases say nothing about Kafka", () => {
  const cases = [...port.notApplicable, ...tally.notApplicable].map(({ name, needs }) => `${needs.join()}: ${name}`);
  expect(cases.toSorted()).toEqual(
    [
      "block: a blocked sender says so, and its copies are accepted once it is unblocked",
      "block: while publishers are blocked publish waits, and consumers go on",
      "count: a redelivery has a higher count",
      "ends: a letter is out, the connection cut before the ack, and the handler would succeed now: no effect beside the letter",
      "ends: a lost receiver says so once; what it had not settled comes again, and no more than that",
      "ends: a lost sender reports lost once, then each open copy as doubt or unsent, in the same turn",
      "ends: what a lost sender is given comes back unsent",
      "ends: what is in doubt is sent again under the same id",
      "ends: while the broker is away a deadline passes, definitely, and later publishes get through",
      "nack: a nack is asked again until the message is accepted",
      "nack: what the broker does not store now comes back as later, and may be sent again",
      "release: what is released comes again",
      "unroutable: a copy for a group that is not there is unroutable",
      "unroutable: unroutable is a verdict of that copy alone",
      "unroutable: unroutable rejects, definitely, and only that message",
    ].toSorted(),
  );
});
