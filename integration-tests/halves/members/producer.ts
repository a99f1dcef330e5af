import { type Decision, openTally, TallyError, topic } from "@tallymq/core";
import { rocketmq } from "@tallymq/rocketmq";
import { sqlite } from "@tallymq/store-sqlite";
import { NOTHING } from "../../workload/member.ts";
import { type Order, orderOf } from "../../workload/order.ts";
import { type Member, runMember } from "../../workload/process.ts";
import { Gate, gated } from "../windows.ts";
import { Works } from "../works.ts";
import { fateOf, GROUP, HALF, type Job, SERVICE, STEP } from "./job.ts";

const status = { ...NOTHING };
let gate: Gate | null = null;

/** A transaction whose half message is not taken is tried again: its id is as if it had never been. */
const AGAIN_MS = 200;

async function produce({ job, ledger, go, stop, ready }: Member<Job>): Promise<void> {
  gate = new Gate(job.window, job.held);
  const own = gate;
  using works = new Works(job.works);
  const broker = rocketmq({ endpoints: [job.endpoint], names: [job.names], heartbeat: "1s", queues: 4 });
  await using shop = await openTally({
    service: SERVICE,
    broker: gated(broker, own),
    outbox: sqlite(job.outbox),
    reconnect: { min: "50ms", max: "500ms" },
    onEvent: (event) => {
      if (event.type.startsWith("half-") || event.type === "surfaced")
        ledger.write({ op: "surfaced", kind: `${event.type} ${JSON.stringify(event)}`, id: null });
    },
  });
  const orders = topic<Order>(job.topic, { groups: [GROUP] });
  const payment = shop.half(HALF, {
    topic: orders,
    lease: "2s",
    // Who has no line is not at work: its process is dead, and the line says that nobody will be.
    check: (_order, { id }) => works.do(id, "rollback"),
  });

  const work = async (n: number, id: string): Promise<Decision> => {
    const { outcome, says } = fateOf(n, job.seed);
    // Half of those that are killed here have done it.
    if (n % 4 < 2) await own.pass("work", id);
    const stands = works.do(id, outcome);
    await own.pass("work", id);
    return says ? stands : "unknown";
  };
  const one = async (n: number): Promise<void> => {
    const order = orderOf(n, job.seed);
    for (;;) {
      try {
        await payment.run(order, () => work(n, order.id), { id: order.id });
        break;
      } catch (error) {
        // Its lease ran out, and somebody else has decided.
        if (TallyError.is(error) && error.code === "fenced") break;
        if (!TallyError.is(error) || !error.retryable) throw error;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
    status.accepted++;
  };

  let next = job.first;
  const some = async (): Promise<void> => {
    while (next < job.end) {
      const n = next;
      next += STEP;
      status.invoked++;
      await one(n);
    }
  };
  ready();
  await go;
  await Promise.all(Array.from({ length: job.atOnce }, some));
  status.published = true;
  await stop;
}

runMember(produce, () => ({ ...status, inFlight: gate?.held ?? 0 }));
