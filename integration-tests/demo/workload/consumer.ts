import { setTimeout as sleep } from "node:timers/promises";
import { CLIENT } from "../clients/index.ts";
import { openEffects } from "./effects.ts";
import type { Order } from "./order.ts";
import { runMember, type Member } from "./process.ts";

/** A handler's own work before its effect, as a call to a slow service would be: a kill then finds handlers half-way. */
const WORK_MS = [5, 25] as const;
const LATE_MS = 150;

const status = { invoked: 0, accepted: 0, rejected: 0, resends: 0, inFlight: 0, pressed: false };

async function consumeAll({ job, ledger, stop, ready }: Member): Promise<void> {
  using effects = openEffects(job.effects);
  const process = `${job.proc}#${job.epoch}`;

  const bill = (order: Order): void => {
    if (!effects.bill(order, process)) {
      if (job.bug !== "mark-ignored") return ledger.write({ op: "dedup", id: order.id });
      effects.billAgain(order, process);
    }
    // After the commit. A kill in between leaves an effect without this line, which is why effects are counted there.
    ledger.write({ op: "effect", id: order.id });
  };

  const handle = async (order: Order, deliveries: number | null): Promise<void> => {
    ledger.write({ op: "deliver", id: order.id, att: deliveries });
    status.inFlight += 1;
    const done = (): void => void (status.inFlight -= 1);
    if (job.bug === "ack-first") {
      setTimeout(() => (bill(order), done()), LATE_MS);
      return;
    }
    try {
      const [least, most] = WORK_MS;
      await sleep(least + Math.random() * (most - least));
      bill(order);
    } finally {
      done();
    }
  };

  const client = await CLIENT[job.client].consumer(job.endpoint, job.proc, handle, {
    resent() {},
    surfaced: (kind, id) => ledger.write({ op: "surfaced", kind, id }),
  });
  ready();
  await stop;
  await client[Symbol.asyncDispose]();
  if (job.bug === "ack-first") await sleep(2 * LATE_MS);
}

runMember(consumeAll, () => ({ ...status }));
