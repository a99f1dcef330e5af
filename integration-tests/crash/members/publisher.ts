import { TallyError } from "@tallymq/core";
import { NOTHING } from "../../workload/member.ts";
import { type Member, runMember } from "../../workload/process.ts";
import { publishShare, Rejected } from "../../workload/publishing.ts";
import type { Job } from "./job.ts";
import { openShop, ordersOf } from "./shop.ts";

const status = { ...NOTHING };

async function publishAll(member: Member<Job>): Promise<void> {
  const { job, go, stop, ready } = member;
  const orders = ordersOf(job);
  await using shop = await openShop(member);
  ready();
  await go;
  await publishShare(
    member,
    status,
    async (order) => {
      try {
        return (await shop.publish(orders, order, { id: order.id })).state;
      } catch (error) {
        throw new Rejected((error as Error).message, TallyError.is(error) && !error.mayArrive, error);
      }
    },
    job.bug === "forgetful",
  );
  // Rows that wait are this process's business.
  await stop;
}

runMember(publishAll, () => ({ ...status }));
