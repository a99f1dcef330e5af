import { setTimeout as sleep } from "node:timers/promises";
import { CLIENT } from "../clients/index.ts";
import { Rejected } from "../clients/client.ts";
import type { Share } from "./job.ts";
import { hashOf, orderOf } from "./order.ts";
import { runMember, type Member } from "./process.ts";

/** Orders come in bursts of about so many, as they do behind a web server: then there are moments with several in flight. */
const BURST = 12;
const LEAST_TICK_MS = 20;
/** Calls in flight under pressure. */
const PRESSED = 6;

const status = { invoked: 0, accepted: 0, rejected: 0, resends: 0, inFlight: 0, pressed: false };

async function publishAll(member: Member): Promise<void> {
  const { job, ledger, go, ready, report } = member;
  await using client = await CLIENT[job.client].publisher(job.endpoint, {
    resent(id, copy) {
      status.resends += 1;
      ledger.write({ op: "resent", id, att: copy });
    },
    surfaced: (kind, id) => ledger.write({ op: "surfaced", kind, id }),
  });
  ready();
  await go;

  const publish = async (n: number): Promise<void> => {
    const order = orderOf(n, job.seed);
    // Before the call: if this process is killed within it, the checker knows that the order may or may not be there.
    ledger.write({ op: "invoke", id: order.id, key: order.customer, h: hashOf(order) });
    status.invoked += 1;
    status.inFlight += 1;
    try {
      const state = await client.publish(order);
      ledger.write({ op: "accepted", id: order.id, state });
      status.accepted += 1;
    } catch (error) {
      const definite = error instanceof Rejected && error.definite;
      ledger.write({ op: "rejected", id: order.id, definite, err: (error as Error).message });
      status.rejected += 1;
    } finally {
      status.inFlight -= 1;
    }
  };
  const pace = new Pace(job.share!, publish, report);
  member.onPress = (hard) => {
    status.pressed = hard;
    pace.press(hard);
  };
  await pace.run();
  // The client's own count is what the table shows; the ledger's lines are the same events, one by one.
  status.resends = client.resends();
}

class Pace {
  readonly #share: Share;
  readonly #publish: (n: number) => Promise<void>;
  readonly #sent: () => void;
  readonly #open = new Set<Promise<void>>();
  #next: number;
  #pressed = false;

  /** @param sent called after a burst of calls, while they are in flight */
  constructor(share: Share, publish: (n: number) => Promise<void>, sent: () => void) {
    this.#share = share;
    this.#publish = publish;
    this.#sent = sent;
    this.#next = share.first;
  }

  async run(): Promise<void> {
    const { rate, end } = this.#share;
    const tick = Math.max(LEAST_TICK_MS, (BURST * 1000) / rate);
    let credit = 0;
    let then = performance.now();
    while (this.#next < end) {
      await sleep(tick);
      const now = performance.now();
      // What was missed while the window was full is not made up for at once: a few bursts' worth at most.
      credit = Math.min(credit + ((now - then) * rate) / 1000, (3 * tick * rate) / 1000);
      then = now;
      while (credit >= 1 && this.#one()) credit -= 1;
      this.#sent();
    }
    await Promise.all(this.#open);
  }

  /**
   * Under pressure each answer is followed by the next call in the same turn, so that some are in flight at any moment:
   * a broker that answers within two milliseconds is idle most of the time otherwise, and a fault would hit nothing.
   */
  press(hard: boolean): void {
    this.#pressed = hard;
    this.#refill();
    this.#sent();
  }

  #refill(): void {
    while (this.#pressed && this.#open.size < PRESSED && this.#one());
  }

  /** False: all are published, or the window is full. */
  #one(): boolean {
    const { window, end, step } = this.#share;
    if (this.#open.size >= window || this.#next >= end) return false;
    const call = this.#publish(this.#next).finally(() => {
      this.#open.delete(call);
      this.#refill();
    });
    this.#next += step;
    this.#open.add(call);
    return true;
  }
}

runMember(publishAll, () => ({ ...status }));
