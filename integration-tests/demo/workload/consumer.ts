import { setTimeout as sleep } from "node:timers/promises";
import { bill, openEffects } from "../../workload/effects.ts";
import { NOTHING } from "../../workload/member.ts";
import { runMember, type Member } from "../../workload/process.ts";
import { CLIENT } from "../clients/index.ts";
import type { Handle } from "../clients/client.ts";
import type { Job } from "./job.ts";

/**
 * Under pressure a handler stands still half-way, with its effect written and not committed: a kill then finds it there, also
 * one that comes late on a busy machine.
 */
const PRESSED_MS = [100, 160] as const;
const LATE_MS = 150;

const status = { ...NOTHING };

async function consumeAll(member: Member<Job>): Promise<void> {
  const { job, ledger, stop, ready, report } = member;
  using effects = openEffects(job.effects);
  const process = `${job.proc}#${job.epoch}`;

  const handle: Handle = async (order, deliveries, write) => {
    ledger.write({ op: "deliver", id: order.id, att: deliveries });
    status.inFlight += 1;
    const done = (): void => void (status.inFlight -= 1);
    if (job.bug === "ack-first") {
      setTimeout(() => {
        effects.bill(order, process);
        ledger.write({ op: "effect", id: order.id });
        done();
      }, LATE_MS);
      return;
    }
    try {
      if (write === null) effects.bill(order, process);
      else await write(...bill(order, process));
      if (status.pressed) {
        report();
        const [least, most] = PRESSED_MS;
        await sleep(least + Math.random() * (most - least));
      }
      // Committed some milliseconds later, together with its mark; counted is what stands in the database at the end.
      ledger.write({ op: "effect", id: order.id });
    } finally {
      done();
    }
  };

  const join = async (): Promise<AsyncDisposable> => {
    const client = await CLIENT[job.client].consumer(job, handle, {
      line: (op) => ledger.write(op),
      relays() {},
    });
    status.joins += 1;
    report();
    return client;
  };
  let client = Promise.resolve(await join());
  member.onPress = (hard) => {
    status.pressed = hard;
    report();
  };
  member.onRejoin = () => {
    client = client.then(async (one) => {
      await one[Symbol.asyncDispose]();
      return await join();
    });
  };
  ready();
  await stop;
  await (await client)[Symbol.asyncDispose]();
  if (job.bug === "ack-first") await sleep(2 * LATE_MS);
}

runMember(consumeAll, () => ({ ...status }));
