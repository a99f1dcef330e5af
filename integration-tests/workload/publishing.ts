import { earlierLives } from "./earlier.ts";
import type { MemberJob, Status } from "./member.ts";
import { hashOf, orderOf, type Order } from "./order.ts";
import { Pace, type Share } from "./pace.ts";
import type { Member } from "./process.ts";

/** How `publish()` was rejected. */
export class Rejected extends Error {
  /** True: no copy may take effect any more. */
  readonly definite: boolean;

  constructor(message: string, definite: boolean, cause: unknown) {
    super(message, { cause });
    this.definite = definite;
  }
}

export interface PublishingJob extends MemberJob {
  readonly seed: number;
  readonly share: Share | null;
}

/** Fields of a status that may be written. */
export type Counting = { -readonly [K in keyof Status]: Status[K] };

/**
 * Publishes a process's share of the orders and writes down each call and its answer. One that is started again publishes,
 * under the same ids, whatever the ledgers of its earlier lives do not show as accepted.
 *
 * @param publish @throws Rejected
 * @param options.ordered orders of a customer are to take effect in their order: the ledger is told the order of the calls
 * @param options.forgetful a planted mistake: whatever an earlier life had begun to publish is left alone
 */
export async function publishShare<Job extends PublishingJob>(
  member: Member<Job>,
  status: Counting,
  publish: (order: Order) => Promise<"confirmed" | "stored" | null>,
  options: { readonly ordered: boolean; readonly forgetful: boolean },
): Promise<void> {
  const { job, ledger, report } = member;
  const { invoked, accepted } = earlierLives(job.ledger, ledger.incarnation);
  const over = options.forgetful ? invoked : accepted;

  const one = async (n: number): Promise<void> => {
    const order = orderOf(n, job.seed);
    // Before the call: if this process is killed within it, the checker knows that the order may or may not be there.
    const seq = options.ordered ? { seq: status.invoked + 1 } : {};
    ledger.write({ op: "invoke", id: order.id, key: order.customer, h: hashOf(order), ...seq });
    status.invoked += 1;
    status.inFlight += 1;
    try {
      const state = await publish(order);
      ledger.write({ op: "accepted", id: order.id, state });
      status.accepted += 1;
      if (state === "stored") status.spilled += 1;
    } catch (error) {
      const definite = error instanceof Rejected && error.definite;
      ledger.write({ op: "rejected", id: order.id, definite, err: (error as Error).message });
      status.rejected += 1;
    } finally {
      status.inFlight -= 1;
    }
  };
  const wanted = (n: number): boolean => !over.has(orderOf(n, job.seed).id);
  const pace = new Pace(job.share!, wanted, one, report);
  member.onPress = (hard) => {
    status.pressed = hard;
    pace.press(hard);
  };
  member.onHold = (held) => pace.hold(held);
  await pace.run();
  status.published = true;
}
