import type { Clock, Incoming, TopicPlan } from "@tallymq/core/spi";
import { type Accepted, Engine } from "../engine.ts";
import type { Entry, Fate, Group } from "../group.ts";
import { encodeDeclared, encodeLeft, encodeMessage, type Left } from "../log/entries.ts";
import { recordWriter } from "../log/records.ts";
import { recover, type RecoveryReport, writeState } from "../log/recover.ts";
import { LogState } from "../log/state.ts";
import { LogWriter } from "../log/writer.ts";

export interface StoreOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly maxBacklog: number;
  readonly deliveryLimit: number;
  readonly failed: (error: unknown) => void;
  /** A log larger than this is written anew when less than half of it can still matter. @default 64 MiB */
  readonly compactAbove?: number;
  /** Makes durable what was written. @default fdatasync */
  readonly sync?: (fd: number) => Promise<void>;
}

/** A message, the one group that it is for (null: all), and how much later. */
export interface Published {
  readonly message: Incoming;
  readonly group: string | null;
  readonly delayMs: number;
}

/** What happened to one message of a batch. */
export type Outcome = "accepted" | "unroutable" | "full";

/** The engine with a log under it: a message reaches a queue, and its sender, after its record is on the disk. */
export class Store {
  readonly engine: Engine;
  readonly report: RecoveryReport;
  readonly #log: LogWriter;
  readonly #salt: Uint8Array;
  readonly #file: string;
  readonly #record: (parts: readonly Uint8Array[]) => Buffer;
  readonly #numbers: Map<string, number> = new Map();
  readonly #compactAbove: number;
  /** The size after the last compaction: the next one waits until it has doubled. */
  #compacted: number;
  #left: Left[] = [];
  #lastNumber = 0;

  constructor(options: StoreOptions) {
    const found = recover(options.dataDir);
    this.report = found.report;
    this.#salt = found.salt;
    this.#file = found.file;
    this.#record = recordWriter(found.salt);
    this.#compactAbove = options.compactAbove ?? 64 * 1024 * 1024;
    this.#compacted = found.size;
    const { clock, maxBacklog, deliveryLimit } = options;
    this.engine = new Engine({
      clock: () => clock,
      maxBacklog,
      deliveryLimit,
      left: (group, place, fate) => this.#onLeft(group, place, fate),
    });
    this.#restore(found.state);
    this.#log = new LogWriter({
      file: found.file,
      size: found.size,
      failed: options.failed,
      betweenBatches: (size) => this.#compact(size),
      ...(options.sync === undefined ? {} : { sync: options.sync }),
    });
  }

  /** Bytes that wait for the disk. */
  get waiting(): number {
    return this.#log.waiting;
  }

  /** Resolves when everything new in the plans is on the disk. @throws TallyError `topology` */
  declare(plans: readonly TopicPlan[]): Promise<void> {
    for (const plan of plans) {
      if (!this.engine.declare(plan)) continue;
      const groups = this.engine.plans().find((p) => p.name === plan.name)!.groups;
      const declared = this.#record(
        encodeDeclared(
          { ...plan, groups },
          groups.map((name) => this.#number(plan.name, name)),
        ),
      );
      this.#log.append(declared, true);
      this.#log.append(declared, true);
    }
    return new Promise((resolve) => this.#log.afterSync(resolve));
  }

  /** Calls back once, when what was accepted is on the disk and in the queues. */
  publish(messages: readonly Published[], done: (outcomes: readonly Outcome[]) => void): void {
    const accepted: Accepted[] = [];
    const outcomes = messages.map(({ message, group, delayMs }): Outcome => {
      const outcome = this.engine.accept(message, group, delayMs);
      if (typeof outcome === "string") return outcome;
      const number = group === null ? 0 : this.#number(message.topic, group);
      this.#log.append(this.#record(encodeMessage(outcome.place, message, number, outcome.dueAt)), true);
      accepted.push(outcome);
      return "accepted";
    });
    this.#log.afterSync(() => {
      for (const message of accepted) this.engine.commit(message);
      done(outcomes);
    });
  }

  close(): Promise<void> {
    this.#writeLeft();
    return this.#log.close();
  }

  #onLeft(group: Group, place: number, fate: Fate): void {
    // The settlements of one tick share a record.
    if (this.#left.length === 0) queueMicrotask(() => this.#writeLeft());
    this.#left.push({ group: this.#number(group.topic, group.name), place, fate });
  }

  #writeLeft(): void {
    if (this.#left.length > 0) this.#log.append(this.#record(encodeLeft(this.#left)), false);
    this.#left = [];
  }

  #number(topic: string, group: string): number {
    const name = JSON.stringify([topic, group]);
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    this.#lastNumber += 1;
    this.#numbers.set(name, this.#lastNumber);
    return this.#lastNumber;
  }

  #restore(state: LogState): void {
    for (const [name, { ordered, groups }] of state.topics) {
      for (const group of groups) {
        this.#numbers.set(JSON.stringify([name, group.name]), group.number);
        this.#lastNumber = Math.max(this.#lastNumber, group.number);
      }
      this.engine.declare({ name, ordered, groups: groups.map((g) => g.name) });
    }
    for (const kept of [...state.messages.values()].toSorted((a, b) => a.place - b.place)) {
      this.engine.restore(
        kept.place,
        kept.message,
        kept.dueAt,
        (group) => kept.groups.get(this.#number(group.topic, group.name)) ?? "settled",
      );
    }
  }

  /** The file holds everything that was confirmed and nothing is half-way: the moment to replace it by what still matters. */
  #compact(size: number): number | null {
    if (size < this.#compactAbove || size < 2 * this.#compacted) return null;
    this.#compacted = writeState(this.#file, this.#salt, this.#snapshot());
    return this.#compacted;
  }

  #snapshot(): LogState {
    const state = new LogState();
    for (const plan of this.engine.plans()) {
      const groups = plan.groups.map((name) => ({ name, number: this.#number(plan.name, name) }));
      state.topics.set(plan.name, { ordered: plan.ordered, groups });
      for (const { name, number } of groups) {
        const group = this.engine.group(plan.name, name);
        const keep = ({ place, message, dueAt }: Entry, is: "waiting" | "dead"): void => {
          const kept = state.messages.get(place) ?? { place, message, dueAt, groups: new Map() };
          kept.groups.set(number, is);
          state.messages.set(place, kept);
        };
        for (const { entry } of group.entries()) keep(entry, "waiting");
        for (const entry of group.dead()) keep(entry, "dead");
      }
    }
    return state;
  }
}
