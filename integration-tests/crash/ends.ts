// What a run demands beyond the ledger: each order is accepted, and comes to the end that is meant for it.
import { setTimeout as sleep } from "node:timers/promises";
import { openTally, topic } from "@tallymq/core";
import type { LedgerReport } from "@tallymq/testkit/ledger";
import { brokerAt } from "../workload/endpoint.ts";
import type { Order } from "../workload/order.ts";
import type { Broker } from "./broker.ts";
import { GROUP } from "./members/job.ts";
import type { Scenario } from "./scenarios.ts";

const LETTERS_MS = 20_000;
const LOOK_MS = 20;

/** Ids of the dead letters, read as anybody would read them. */
export async function lettersOf(broker: Broker, of: string, signal: AbortSignal): Promise<readonly string[]> {
  const name = `${of}.${GROUP}.dead-letters`;
  const waiting = await broker.backlog(name, "dead-letters");
  const ids: string[] = [];
  if (waiting === 0) return ids;
  await using tally = await openTally({ service: "matrix", broker: await brokerAt(broker.endpoint) });
  await tally
    .consumer("dead-letters")
    .on(topic(name, { groups: ["dead-letters"] }), (_, { id }) => void ids.push(id ?? "?"))
    .start();
  for (const end = performance.now() + LETTERS_MS; ids.length < waiting && performance.now() < end;)
    await sleep(LOOK_MS, undefined, { signal });
  return [...new Set(ids)];
}

export function wrongEnds(
  { fails, repaired }: Scenario,
  orders: readonly Order[],
  { totals }: LedgerReport,
  dead: ReadonlySet<string>,
): readonly string[] {
  const wrong: string[] = [];
  const missing = orders.length - totals.accepted;
  if (missing > 0)
    wrong.push(`${missing} of ${orders.length} orders were never accepted: nobody has published them again`);
  if (totals.both > 0) wrong.push(`${totals.both} orders have a dead letter and an effect`);
  for (const order of orders) {
    const { id } = order;
    if ((fails(order) && repaired === "never") !== dead.has(id))
      wrong.push(`${id} ${dead.has(id) ? "has a dead letter, and should have an effect" : "has no dead letter"}`);
  }
  return wrong;
}
