import { setTimeout as sleep } from "node:timers/promises";
import { CLIENT } from "../clients/index.ts";
import { Rejected } from "../clients/client.ts";
import type { Share } from "./job.ts";
import { hashOf, orderOf } from "./order.ts";
import { runMember, type Member } from "./process.ts";

/** Orders come in bursts of about so many, as they do behind a web server: then there are moments with several in flight. */
const BURST = 12;
const LEAST_TICK_MS = 20;

const status = { invoked: 0, accepted: 0, rejected: 0, resends: 0, inFlight: 0 };

async function publishAll({ job, ledger, go, ready, report }: Member): Promise<void> {
  await using client = await CLIENT[job.client].publisher(job.endpoint, {
    resent(id, copy) {
      status.resends += 1;
      ledger.write({ op: "resent", id, att: copy });
    },
    surfaced: (kind, id) => ledger.write({ op: "surfaced", kind, id }),
  });
  ready();
  await go;

  const publish = async (n: number): Promise<void> => {
    const order = orderOf(n, job.seed);
    // Before the call: if this process is killed within it, the checker knows that the order may or may not be there.
    ledger.write({ op: "invoke", id: order.id, key: order.customer, h: hashOf(order) });
    status.invoked += 1;
    status.inFlight += 1;
    try {
      const state = await client.publish(order);
      ledger.write({ op: "accepted", id: order.id, state });
      status.accepted += 1;
    } catch (error) {
      const definite = error instanceof Rejected && error.definite;
      ledger.write({ op: "rejected", id: order.id, definite, err: (error as Error).message });
      status.rejected += 1;
    } finally {
      status.inFlight -= 1;
    }
  };
  await paced(job.share!, publish, report);
  // The client's own count is what the table shows; the ledger's lines are the same events, one by one.
  status.resends = client.resends();
}

/** @param burst called after each burst of calls, while they are in flight */
async function paced(share: Share, publish: (n: number) => Promise<void>, burst: () => void): Promise<void> {
  const open = new Set<Promise<void>>();
  const tick = Math.max(LEAST_TICK_MS, (BURST * 1000) / share.rate);
  let next = share.first;
  let credit = 0;
  let then = performance.now();
  while (next < share.end) {
    await sleep(tick);
    const now = performance.now();
    // What was missed while the window was full is not made up for at once: a few bursts' worth at most.
    credit = Math.min(credit + ((now - then) * share.rate) / 1000, (3 * tick * share.rate) / 1000);
    then = now;
    for (; credit >= 1 && open.size < share.window && next < share.end; credit -= 1, next += share.step) {
      const call = publish(next).finally(() => open.delete(call));
      open.add(call);
    }
    burst();
  }
  await Promise.all(open);
}

runMember(publishAll, () => ({ ...status }));
