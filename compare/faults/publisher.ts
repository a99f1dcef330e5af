// A client's process: publishes the numbered orders, and writes each call and its answer into its ledger.
import { NOTHING } from "../../integration-tests/workload/member.ts";
import { type Member, runMember } from "../../integration-tests/workload/process.ts";
import { publishShare } from "../../integration-tests/workload/publishing.ts";
import { loadClient } from "../clients/index.ts";
import type { Job } from "./job.ts";

const status = { ...NOTHING };

async function publishAll(member: Member<Job>): Promise<void> {
  const { job, go, stop, ready } = member;
  const open = await loadClient(job.broker, job.client);
  await using client = await open(job.place);
  ready();
  await go;
  await publishShare(
    member,
    status,
    async (order) => {
      await client.publish(order.id, Buffer.from(JSON.stringify(order)));
      return null;
    },
    { ordered: false, forgetful: false },
  );
  // What is stored is still to be sent, and a queue in memory may not be empty.
  await stop;
}

runMember(publishAll, () => ({ ...status }));
