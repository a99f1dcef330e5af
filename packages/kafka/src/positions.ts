import { type Subscription, TallyError } from "@tallymq/core/spi";
import type { KafkaAdmin } from "./admin.ts";
import type { Assignment, Range } from "./driver/driver.ts";
import type { Lane } from "./lane.ts";
import type { CommitPoint } from "./progress.ts";
import type { Topology } from "./topology.ts";

/** Where a group goes on in a partition. */
export interface Start {
  readonly lane: number;
  readonly topic: string;
  readonly partition: number;
  readonly from: CommitPoint;
  /** Null: what follows `from` is there. */
  readonly gap: Gap | null;
}

/** Messages `from` to `to` (not included) that the group has not had, and that are not there any more. */
export interface Gap {
  readonly lane: number;
  readonly from: number;
  readonly to: number;
  /** Null: go on at `to`, as `offsetReset` says. */
  readonly error: TallyError | null;
}

/** Reads how far groups are, and whether what they have not had is still there. A client's own resets lose it without a word. */
export class Positions {
  readonly #admin: KafkaAdmin;
  readonly #topology: Topology;
  readonly #reset: "fail" | "earliest" | "latest";

  constructor(admin: KafkaAdmin, topology: Topology, reset: "fail" | "earliest" | "latest") {
    this.#admin = admin;
    this.#topology = topology;
    this.#reset = reset;
  }

  /** For each partition of the assignment. A group without a commit begins at the oldest message: nothing is passed over. */
  async read(subscription: Subscription, assignment: Assignment, signal: AbortSignal): Promise<readonly Start[]> {
    const group = this.#topology.groupOf(subscription.topic.name, subscription.group);
    const starts: Start[] = [];
    await this.#admin.on(signal, `group ${JSON.stringify(group)}`, async (admin) => {
      for (const [topic, partitions] of assignment) {
        const [committed, ranges] = await Promise.all([
          admin.committed(group, topic),
          this.#admin.ranges(admin, topic, signal),
        ]);
        for (const partition of partitions) {
          const range = ranges.find((one) => one.partition === partition);
          if (range === undefined)
            throw new TallyError("topology", `topic ${JSON.stringify(topic)} has no partition ${partition} now`, {
              retryable: true,
            });
          const lane = this.#topology.lane(topic, partition);
          const at = committed.find((one) => one.partition === partition);
          const offset = at?.offset ?? range.low;
          const gap = this.#gap(subscription, topic, lane, offset, range);
          const from = gap === null ? { offset, metadata: at?.metadata ?? "" } : { offset: gap.to, metadata: "" };
          starts.push({ lane, topic, partition, from, gap });
        }
      }
    });
    return starts;
  }

  /** Null: what the lane is to fetch next is there, or will come. */
  async gapAt(subscription: Subscription, lane: Lane, signal: AbortSignal): Promise<Gap | null> {
    const { number, topic, partition, progress } = lane;
    const ranges = await this.#admin.on(signal, `topic ${JSON.stringify(topic)}`, (admin) =>
      this.#admin.ranges(admin, topic, signal),
    );
    const range = ranges.find((one) => one.partition === partition);
    return range === undefined ? null : this.#gap(subscription, topic, number, progress.next, range);
  }

  #gap({ group }: Subscription, topic: string, lane: number, offset: number, range: Range): Gap | null {
    const { partition, low, high } = range;
    if (offset >= low && offset <= high) return null;
    const to = this.#reset === "latest" ? high : low;
    const what =
      offset < low
        ? `messages ${offset} to ${low - 1} of ${topic}/${partition} are gone`
        : `${topic}/${partition} ends at ${high}, before the group's offset ${offset}: it was made anew, or has lost its end`;
    const error = new TallyError(
      "topology",
      `${what}, and group ${group} has not had them; offsetReset "earliest" or "latest" would go on without`,
    );
    return { lane, from: offset, to, error: this.#reset === "fail" ? error : null };
  }
}
