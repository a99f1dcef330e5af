// A client's process: publishes the numbered orders, and writes each call and its answer into its ledger.
import { NOTHING } from "../../../integration-tests/workload/member.ts";
import { type Member, runMember } from "../../../integration-tests/workload/process.ts";
import { publishShare } from "../../../integration-tests/workload/publishing.ts";
import { loadKafkaClient } from "../../clients/kafka/index.ts";
import type { KafkaJob } from "./job.ts";

const status = { ...NOTHING };

async function publishAll(member: Member<KafkaJob>): Promise<void> {
  const { job, go, stop, ready } = member;
  const open = await loadKafkaClient(job.client);
  await using client = await open(job.place);
  ready();
  await go;
  await publishShare(
    member,
    status,
    async (order) => {
      // Whose it is: one reader reads all topics.
      const value = Buffer.from(JSON.stringify({ client: job.client, ...order }));
      await client.publish({ id: order.id, key: job.keyed ? order.customer : null, value });
      return null;
    },
    { ordered: false, forgetful: false },
  );
  // What is stored is still to be sent.
  await stop;
}

runMember(publishAll, () => ({ ...status }));
