import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type Context, deadLetter, delay, park, type Tally, type TxContext } from "@tallymq/core";
import type { SqliteTx } from "@tallymq/store-sqlite";
import { bill, type Effects, openEffects } from "../../workload/effects.ts";
import { NOTHING } from "../../workload/member.ts";
import type { Order } from "../../workload/order.ts";
import { type Member, runMember } from "../../workload/process.ts";
import { SCENARIOS } from "../scenarios.ts";
import { GROUP, type Job } from "./job.ts";
import { billedOf, openShop, ordersOf } from "./shop.ts";

const LANES = 8;
/** What a killed consumer was at waits for so long. */
const LEASE = "1s";
const LATE_MS = 100;
const LOOK_MS = 50;
const RULING = {
  "dead-letter": deadLetter("poison"),
  park: park("poison"),
  delay: delay({ after: "200ms" }),
} as const;

const status = { ...NOTHING };

/** The handlers of one consumer process. */
class Billing {
  readonly #member: Member<Job>;
  readonly #effects: Effects;
  readonly #name: string;
  /** Those that have failed once in this process. */
  readonly #failed = new Set<string>();

  constructor(member: Member<Job>, effects: Effects) {
    this.#member = member;
    this.#effects = effects;
    this.#name = `${member.job.proc}#${member.job.epoch}`;
  }

  async start(shop: Tally<SqliteTx>): Promise<void> {
    const { job } = this.#member;
    const orders = ordersOf(job);
    if (job.bug === "no-inbox" || job.bug === "ack-first") {
      const wrong = job.bug === "no-inbox" ? this.#unguarded : this.#late;
      await shop.consumer(GROUP, { effect: "none", lanes: LANES }).on(orders, wrong).start();
    } else if (SCENARIOS[job.scenario].marked) {
      await shop.consumer(GROUP, { effect: "marked", lanes: LANES, lease: LEASE }).on(orders, this.#once).start();
    } else {
      const ruling = RULING[SCENARIOS[job.scenario].ruling];
      const tx = { effect: "tx", lanes: LANES, lease: LEASE, onError: () => ruling } as const;
      if (job.scenario === "forward") {
        const bills = billedOf(job);
        await shop.consumer(GROUP, tx).on(bills, this.#bill).start();
        await shop
          .consumer(GROUP, tx)
          .on(
            orders,
            async (order, { tx: within }) => void (await shop.publish(bills, order, { id: order.id, tx: within })),
          )
          .start();
      } else await shop.consumer(GROUP, tx).on(orders, this.#bill).start();
    }
  }

  readonly #bill = async (order: Order, { deliveries, tx }: TxContext<SqliteTx>): Promise<void> => {
    this.#came(order, deliveries);
    await tx.run(...bill(order, this.#name));
    const { scenario, repaired } = this.#member.job;
    if (SCENARIOS[scenario].fails(order) && !existsSync(repaired) && !this.#failed.has(order.id)) {
      if (SCENARIOS[scenario].repaired === "later") this.#failed.add(order.id);
      throw new Error("poison");
    }
    this.#done(order);
  };

  readonly #once = async (order: Order, { deliveries }: Context): Promise<void> => {
    this.#came(order, deliveries);
    // An answer from elsewhere: the handler is not over in the turn in which it began.
    await sleep(1);
    this.#effects.billOnce(order, this.#name);
    this.#done(order);
  };

  readonly #unguarded = (order: Order, { deliveries }: Context): void => {
    this.#came(order, deliveries);
    this.#effects.bill(order, this.#name);
    this.#done(order);
  };

  readonly #late = (order: Order, { deliveries }: Context): void => {
    this.#came(order, deliveries);
    setTimeout(() => {
      this.#effects.bill(order, this.#name);
      this.#done(order);
    }, LATE_MS);
  };

  #came(order: Order, deliveries: number | null): void {
    this.#member.ledger.write({ op: "deliver", id: order.id, att: deliveries });
  }

  #done(order: Order): void {
    this.#member.ledger.write({ op: "effect", id: order.id });
  }
}

/** The person who has repaired what made handlers fail: replays until nothing is left to replay. */
async function operate(shop: Tally<SqliteTx>, { job, ledger }: Member<Job>, stopped: () => boolean): Promise<void> {
  const orders = ordersOf(job);
  for (; !stopped(); await sleep(LOOK_MS)) {
    if (!existsSync(job.repaired)) continue;
    try {
      if (SCENARIOS[job.scenario].ruling === "park") {
        const keys = await shop.parked.keys.list({ group: GROUP, topic: job.topic });
        for (const key of keys) await shop.parked.keys.replay(key);
        status.published = keys.length === 0;
      } else {
        const { matched, left } = await shop.deadLetters(orders, GROUP).replay();
        status.published = matched + left === 0;
      }
    } catch (error) {
      ledger.write({ op: "surfaced", kind: `replay: ${(error as Error).message}` });
    }
  }
}

async function consumeAll(member: Member<Job>): Promise<void> {
  using effects = openEffects(member.job.effects);
  await using shop = await openShop(member);
  await new Billing(member, effects).start(shop);
  member.ready();
  let stopped = false;
  const operating = operate(shop, member, () => stopped);
  await member.stop;
  stopped = true;
  await operating;
  if (member.job.bug === "ack-first") await sleep(2 * LATE_MS);
}

runMember(consumeAll, () => ({ ...status }));
