import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { type Receipt, type Tally, TallyError } from "@tallymq/core";
import { NOTHING } from "../../workload/member.ts";
import type { Order } from "../../workload/order.ts";
import { type Member, runMember } from "../../workload/process.ts";
import { publishShare, Rejected } from "../../workload/publishing.ts";
import type { Job } from "./job.ts";
import { openShop, ordersOf } from "./shop.ts";

const status = { ...NOTHING };

type Publish = (order: Order) => Promise<Receipt["state"]>;

function publishing({ job }: Member<Job>, shop: Tally): Publish {
  const orders = ordersOf(job);
  if (job.scenario !== "half") return async (order) => (await shop.publish(orders, order, { id: order.id })).state;
  // The work is a line in a file, once.
  const file = `${job.outbox}-paid`;
  const paid = new Set(existsSync(file) ? readFileSync(file, "utf8").split("\n") : []);
  const pay = (id: string): "commit" => {
    if (!paid.has(id)) appendFileSync(file, `${id}\n`);
    paid.add(id);
    return "commit";
  };
  const payment = shop.half("payment", { topic: orders, lease: "1s", check: ({ id }) => pay(id) });
  return async (order) => {
    const { receipt } = await payment.run(order, () => pay(order.id), { id: order.id });
    if (receipt === null) throw new TallyError("in-doubt", `${order.id} has no decision`, { mayArrive: true });
    return receipt.state;
  };
}

async function publishAll(member: Member<Job>): Promise<void> {
  const { job, go, stop, ready } = member;
  await using shop = await openShop(member);
  const publish = publishing(member, shop);
  ready();
  await go;
  await publishShare(
    member,
    status,
    async (order) => {
      try {
        return await publish(order);
      } catch (error) {
        throw new Rejected((error as Error).message, TallyError.is(error) && !error.mayArrive, error);
      }
    },
    // The place of a half message is that of its commit, which the ledger does not know.
    { ordered: ordersOf(job).ordered && job.scenario !== "half", forgetful: job.bug === "forgetful" },
  );
  // Rows that wait are this process's business.
  await stop;
}

runMember(publishAll, () => ({ ...status }));
