import type { Broker, TopicPlan } from "@tallymq/core/spi";

/**
 * One thing that must hold for every broker, as data: any runner can run it, and the author of a fourth adapter runs the
 * same ones. `run` resolves when it holds; otherwise it rejects with an assertion error that says what was expected and
 * what came. It ends by itself within a few `limitMs`.
 */
export interface ConformanceCase {
  /** What must hold, in words; unique. */
  readonly name: string;
  /** Without these the case says nothing about a broker: it is listed as not applicable, by name. */
  readonly needs: readonly Need[];
  run(rig: Rig): Promise<void>;
}

/**
 * | need | met when |
 * |---|---|
 * | `kill`, `cut`, `pause`, `block`, `nack`, `foreign` | the rig can do it (its field is not null) |
 * | `ends` | a session ends with its connection (`rig.endsWithConnection`) |
 * | `unroutable` | `traits.unroutable` is `"reported"` |
 * | `release` | `traits.release` is not `"none"` |
 * | `order` | `traits.order` is not `"none"` |
 * | `inplace` | what is given back comes again where it was, at once: `traits.release` is not `"delayed"` |
 * | `count` | `traits.countsDeliveries` |
 * | `position` | `traits.position` |
 * | `delay` | `traits.longestDelay` is not 0 |
 * | `members` | `transport.members` is not null |
 */
export type Need =
  | Ability
  | "ends"
  | "unroutable"
  | "release"
  | "inplace"
  | "order"
  | "count"
  | "position"
  | "delay"
  | "members";
/** What a rig can do to its broker. */
export type Ability = "kill" | "cut" | "pause" | "block" | "nack" | "foreign";

/** A running broker and what can be done to it, as an adapter's author supplies it. What cannot be done is null. */
export interface Rig {
  readonly name: string;
  /** Fresh options to the same running broker. Each is opened, used and disposed of by itself. */
  broker(): Broker;
  /** A topic name that nobody has used on this broker, with `stem` in it. */
  topic(stem: string): string;
  /** One wait may take so long before its case fails, in milliseconds. */
  readonly limitMs: number;
  /** When nothing came for so long, nothing will come; in milliseconds. */
  readonly quietMs: number;
  /** Deliveries beyond the credit that one fetch of the driver may bring; 0 where credit is exact. */
  readonly fetch: number;
  /**
   * True: a session ends when its connection does, and says so at once. False: the driver goes on with another connection
   * in the same session (Kafka), and it ends only when that fails for long.
   */
  readonly endsWithConnection: boolean;
  /** kill -9 of the broker with its data kept, and its start again. `end` resolves when it serves. */
  readonly kill: Outage | null;
  /** Ends every connection of `broker()`'s at once, as a reset does; new ones are welcome. Also works while paused. */
  readonly cut: (() => Promise<void>) | null;
  /** From `begin` to `end` connections stay open, and nothing that the broker says arrives. */
  readonly pause: Outage | null;
  /** From `begin` to `end` the broker reads nothing that publishers send (memory or disk alarm). */
  readonly block: Outage | null;
  /** From now on the broker does not store what is sent to this topic, and says so; until the answered function is called. */
  readonly nack: ((topic: TopicPlan, group: string) => Promise<() => Promise<void>>) | null;
  /** Sends a body to a declared topic through a raw client: no id, no header, no property of ours. */
  readonly foreign: ((topic: string, body: Uint8Array) => Promise<void>) | null;
}

/** A state of the broker that lasts; the two are called in turn. */
export interface Outage {
  /** Resolves when it holds. */
  begin(): Promise<void>;
  /** Resolves when it is over. */
  end(): Promise<void>;
}
