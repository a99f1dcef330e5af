import { expect, test } from "vitest";
import { compareKafka } from "./kafka/run.ts";
import { kafkaTable } from "./kafka/table.ts";

// In full length, with every scenario and client, it is `npm run compare -- faults --broker kafka`.
test("Tally loses, rejects and doubles nothing while answers are cut and a leader moves, beside kafkajs that sees the same", async () => {
  const plan = {
    scenarios: ["two-leaders", "cut"],
    clients: ["kafkajs-idempotent", "tally"],
    messages: 900,
    rate: 150,
  };
  const report = await compareKafka(plan, () => {}, new AbortController().signal);
  expect(report.problems, kafkaTable(report)).toEqual([]);
  expect(report.rows.map(({ scenario, client, met }) => [scenario, client, met])).toEqual([
    ["two-leaders", "kafkajs-idempotent", true],
    ["two-leaders", "tally", true],
    ["cut", "kafkajs-idempotent", true],
    ["cut", "tally", true],
  ]);
  for (const row of report.rows.filter(({ client }) => client === "tally"))
    expect(row).toMatchObject({
      resolved: 900,
      lost: 0,
      rejected: 0,
      unanswered: 0,
      effects: { doubled: 0, missing: 0 },
    });
}, 300_000);
