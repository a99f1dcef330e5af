import type { Clock, Timer } from "@tallymq/core/spi";
import type { Commit } from "./driver/driver.ts";
import type { Lane } from "./lane.ts";

/** Milliseconds from an ack to its commit: what ends meanwhile goes with it. */
const AFTER = 2;
/** Milliseconds until a commit that failed is tried again. */
const AGAIN = 200;

/**
 * Tells the broker what is done, one commit at a time: a later one that was taken first would be undone by the earlier one.
 *
 * A commit goes out in a task of its own (a timer), never in a microtask: kafkajs takes up a new generation some microtasks
 * before it tells us, and a commit of the old assignment in between would carry the new generation.
 */
export class Commits {
  readonly #clock: Clock;
  readonly #lanes: () => Iterable<Lane>;
  readonly #commit: (commits: readonly Commit[]) => Promise<void>;
  #held = true;
  #over = false;
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;

  constructor(clock: Clock, lanes: () => Iterable<Lane>, commit: (commits: readonly Commit[]) => Promise<void>) {
    this.#clock = clock;
    this.#lanes = lanes;
    this.#commit = commit;
  }

  /** From a join until it is known where the group is, nothing is committed. */
  hold(): void {
    this.#held = true;
  }

  resume(): void {
    this.#held = false;
    this.due();
  }

  /** Something was acked. */
  due(): void {
    this.#later(AFTER);
  }

  /** The one that is out has been answered: what the broker says of the group from here is not changed under us. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** All that is done now, as far as the broker takes it. */
  async flush(): Promise<void> {
    await this.#running;
    await this.#send();
  }

  /** Says again how far a lane is, whatever the broker has been told since. */
  async restore(lane: Lane): Promise<void> {
    await this.#running;
    const { topic, partition } = lane;
    await this.#commit([{ topic, partition, ...lane.progress.commit() }]).catch(() => {});
  }

  stop(): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #later(ms: number): void {
    if (this.#timer !== null || this.#running !== null || this.#over) return;
    this.#timer = this.#clock.after(ms, () => {
      this.#timer = null;
      void this.#send();
    });
  }

  async #send(): Promise<void> {
    if (this.#held) return;
    const due = [...this.#lanes()].filter((lane) => lane.acked.length > 0);
    if (due.length === 0) return;
    const sent = due.map((lane) => ({ lane, point: lane.progress.commit(), acks: lane.acked.length }));
    const commits = sent.map(({ lane: { topic, partition }, point }) => ({ topic, partition, ...point }));
    let wait = AFTER;
    this.#running = this.#commit(commits).then(
      () => {
        for (const { lane, point, acks } of sent) lane.committed(point, acks);
      },
      () => {
        // The network, and it is tried again; or a rebalance, and the next join says what becomes of the acks.
        wait = AGAIN;
      },
    );
    await this.#running;
    this.#running = null;
    for (const lane of this.#lanes()) if (lane.acked.length > 0) return this.#later(wait);
  }
}
