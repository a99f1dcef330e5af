import { openTally, topic } from "@tallymq/core";
import { rocketmq } from "@tallymq/rocketmq";
import { sqlite } from "@tallymq/store-sqlite";
import { bill } from "../../workload/effects.ts";
import { NOTHING } from "../../workload/member.ts";
import type { Order } from "../../workload/order.ts";
import { type Member, runMember } from "../../workload/process.ts";
import { GROUP, type Job, SERVICE } from "./job.ts";

const status = { ...NOTHING };

async function consume({ job, stop, ready }: Member<Job>): Promise<void> {
  await using shop = await openTally({
    service: SERVICE,
    broker: rocketmq({
      endpoints: [job.endpoint],
      names: [job.names],
      heartbeat: "1s",
      receiveWait: "1s",
      invisible: "10s",
      queues: 4,
    }),
    inbox: sqlite(job.effects),
    onEvent: ({ type }) => {
      if (type === "duplicate") status.resends++;
    },
  });
  await shop
    .consumer(GROUP, { effect: "tx" })
    .on(topic<Order>(job.topic, { groups: [GROUP] }), async (order, { tx }) => {
      await tx.run(...bill(order, job.proc));
      status.accepted++;
    })
    .start();
  ready();
  await stop;
}

runMember(consume, () => ({ ...status }));
