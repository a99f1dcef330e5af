import { setTimeout as sleep } from "node:timers/promises";
import type { Fleet, Member } from "../../integration-tests/workload/fleet.ts";
import type { PublishingJob } from "../../integration-tests/workload/publishing.ts";
import { storedIn } from "./stored.ts";

const LOOK_MS = 20;

interface Publishing extends PublishingJob {
  readonly role: "publisher";
  readonly place: { readonly outbox: string };
}

/**
 * Resolves when all calls are answered and nothing is stored any more, or when nothing has come for so long that nothing
 * ever will.
 *
 * @returns when each outbox was found empty, in microseconds of the host's monotonic clock
 */
export async function settled<Job extends Publishing>(
  fleet: Fleet<Job>,
  patienceMs: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<Member<Job>, number>> {
  const emptied = new Map<Member<Job>, number>();
  let [answered, since] = [-Infinity, performance.now()];
  for (;;) {
    signal.throwIfAborted();
    let waiting = 0;
    for (const member of fleet.members) {
      if (emptied.has(member) || (member.running && !member.status.published)) continue;
      const stored = await storedIn(member.job.place.outbox);
      if (stored === 0) emptied.set(member, Number(process.hrtime.bigint() / 1000n));
      waiting += stored;
    }
    if (emptied.size === fleet.members.length) return emptied;
    const now = fleet.sum("publisher", "accepted") + fleet.sum("publisher", "rejected") + emptied.size - waiting;
    if (now !== answered) [answered, since] = [now, performance.now()];
    if (performance.now() - since > patienceMs) return emptied;
    await sleep(LOOK_MS);
  }
}
