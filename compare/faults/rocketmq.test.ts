import { expect, test } from "vitest";
import { compareFaults } from "./run.ts";
import { table } from "./table.ts";

// In full length it is `npm run compare -- faults --broker rocketmq`. So slow that something is still to be published when a
// busy machine has come to the second kill.
test("Tally loses, rejects and doubles nothing while broker and proxy are killed, beside the raw client that sees the same", async () => {
  const plan = {
    broker: "rocketmq",
    clients: ["rocketmq-client-nodejs", "tally"],
    messages: 1_200,
    rate: 75,
    kills: 2,
  };
  const report = await compareFaults(plan, () => {}, new AbortController().signal);
  expect(report.problems, table(report)).toEqual([]);
  expect(report.kills.map(({ part }) => part)).toEqual(["broker", "proxy"]);
  expect(report.rows.find(({ client }) => client === "tally")).toMatchObject({
    resolved: 1_200,
    lost: 0,
    rejected: 0,
    unanswered: 0,
    effects: { doubled: 0, missing: 0 },
    ended: null,
  });
}, 300_000);
