import { expect, test } from "vitest";
import { compareFaults } from "./run.ts";
import { table } from "./table.ts";

// In full length, and with every client, it is `npm run compare -- faults --broker rabbitmq`.
test("Tally loses, rejects and doubles nothing while the broker is killed, beside others that see the same", async () => {
  const plan = {
    broker: "rabbitmq",
    clients: ["amqplib", "rabbitmq-client", "tally"],
    messages: 1_500,
    rate: 500,
    kills: 1,
  };
  const report = await compareFaults(plan, () => {}, new AbortController().signal);
  expect(report.problems, table(report)).toEqual([]);
  expect(report.rows.find(({ client }) => client === "tally")).toMatchObject({
    resolved: 1_500,
    lost: 0,
    rejected: 0,
    unanswered: 0,
    effects: { doubled: 0, missing: 0 },
    ended: null,
  });
}, 240_000);
