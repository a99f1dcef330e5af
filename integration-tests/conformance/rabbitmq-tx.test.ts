import { conform, portCases, tallyCases } from "@tallymq/testkit/conformance";
import { afterAll, describe, expect, it } from "vitest";
import { startRabbit } from "../brokers/index.ts";
import { rabbitRig } from "./rabbitmq-rig.ts";

// The same cases as with confirms, by transactions.
const node = await startRabbit();
afterAll(() => node.stop());
const proxy = await node.proxy();

// Not here: a full quorum queue, whose rejections a commit does not tell, and kills, which are many times as many in
// integration-tests/rabbitmq/tx.test.ts.
const quorum = { ...rabbitRig(node, proxy, { mode: "tx" }), nack: null, kill: null };
const port = await conform({ describe, it }, quorum, portCases);
const tally = await conform({ describe, it }, quorum, tallyCases);

// A classic queue that is full fails the transaction.
const nacking = <T extends { readonly needs: readonly string[] }>(cases: readonly T[]): readonly T[] =>
  cases.filter(({ needs }) => needs.includes("nack"));
const classic = rabbitRig(node, proxy, { mode: "tx", queueType: "classic" });
const rest = [
  await conform({ describe, it }, classic, nacking(portCases)),
  await conform({ describe, it }, classic, nacking(tallyCases)),
];

it("no case is left out but for kills, nacks of quorum queues, and places, which RabbitMQ has not", () => {
  const missing = [...port.notApplicable, ...tally.notApplicable].flatMap(({ needs }) => needs);
  expect(new Set(missing)).toEqual(new Set(["kill", "nack", "position"]));
  expect(rest.map(({ applicable }) => applicable.length)).toEqual([1, 1]);
});
