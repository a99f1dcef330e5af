import { NOTHING } from "../../workload/member.ts";
import { runMember, type Member } from "../../workload/process.ts";
import { publishShare } from "../../workload/publishing.ts";
import { CLIENT } from "../clients/index.ts";
import type { Job } from "./job.ts";

const status = { ...NOTHING };

async function publishAll(member: Member<Job>): Promise<void> {
  const { job, ledger, go, stop, ready, report } = member;
  await using client = await CLIENT[job.client].publisher(job, {
    line(op) {
      if (op.op === "resent") status.resends += 1;
      ledger.write(op);
    },
    relays(is) {
      status.relays = is;
      report();
    },
  });
  ready();
  await go;
  const forgetful = job.bug === "forgetful";
  await publishShare(member, status, (order) => client.publish(order), { ordered: job.ordered, forgetful });
  // Rows that wait are this process's business as long as it holds the lease, whoever stored them.
  await stop;
}

runMember(publishAll, () => ({ ...status }));
