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
      "delay: a delayed copy comes when its time has come, not before, with all that it had",
      "delay: a delayed message for all groups reaches each of them, once",
      "delay: a short delay does not wait behind a longer one that was sent before it",
      "delay: what is delayed outlives the broker",
      "ends: a letter is out, the connection cut before the ack, and the handler would succeed now: no effect beside the letter",
      "ends: a lost receiver says so once; what it had not settled comes again, and no more than that",
      "ends: a lost sender reports lost once, then each open copy as doubt or unsent, in the same turn",
      "ends: what a lost sender is given comes back unsent",
      "ends: what is in doubt is sent again under the same id",
      "ends: while the broker is away a deadline passes, definitely, and later publishes get through",
      "members: a member that has left is not seen, and does not see",
      "members: members of a group see each other's cards, whoever came first; nobody else does",
      "nack: a nack is asked again until the message is accepted",
      "nack: what the broker does not store now comes back as later, and may be sent again",
      "release: what is released comes again",
      "release: when its attempts are used up, a message comes again: as a delayed copy, or released",
      "unroutable: a copy for a group that is not there is unroutable",
      "unroutable: unroutable is a verdict of that copy alone",
      "unroutable: unroutable rejects, definitely, and only that message",
    ].toSorted(),
  );
});
