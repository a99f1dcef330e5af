import { acceptedBefore } from "../../workload/accepted.ts";
import { NOTHING } from "../../workload/member.ts";
import { hashOf, orderOf } from "../../workload/order.ts";
import { Pace } from "../../workload/pace.ts";
import { runMember, type Member } from "../../workload/process.ts";
import { Rejected } from "../clients/client.ts";
import { CLIENT } from "../clients/index.ts";
import type { Job } from "./job.ts";

const status = { ...NOTHING };

async function publishAll(member: Member<Job>): Promise<void> {
  const { job, ledger, go, stop, ready, report } = member;
  // Whatever the ledger of an earlier life does not show as accepted is published again, under the same id.
  const accepted = acceptedBefore(job.ledger, member.ledger.incarnation);
  const forgotten = job.bug === "forgetful" ? Math.max(-1, ...[...accepted].map(numberOf)) : -1;
  await using client = await CLIENT[job.client].publisher(job, {
    resent(id, copy) {
      status.resends += 1;
      ledger.write({ op: "resent", id, att: copy });
    },
    duplicate() {},
    relays(is) {
      status.relays = is;
      report();
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
      if (state === "stored") status.spilled += 1;
    } catch (error) {
      const definite = error instanceof Rejected && error.definite;
      ledger.write({ op: "rejected", id: order.id, definite, err: (error as Error).message });
      status.rejected += 1;
    } finally {
      status.inFlight -= 1;
    }
  };
  const wanted = (n: number): boolean => n > forgotten && !accepted.has(orderOf(n, job.seed).id);
  const pace = new Pace(job.share!, wanted, publish, report);
  member.onPress = (hard) => {
    status.pressed = hard;
    pace.press(hard);
  };
  await pace.run();
  status.published = true;
  // Rows that wait are this process's business as long as it holds the lease, whoever stored them.
  await stop;
  // The client's own count is what the table shows; the ledger's lines are the same events, one by one.
  status.resends = client.resends();
}

function numberOf(id: string): number {
  return Number(id.slice(id.lastIndexOf("-") + 1));
}

runMember(publishAll, () => ({ ...status }));
