import type { Duration } from "../duration.ts";
import { TallyError, textOf } from "../error.ts";
import { assertRange, type Bounds, duration, integer, resolveOptions, value } from "../policy.ts";
import type { PublishOptions, Receipt } from "../publish/options.ts";
import type { Decision, HalfMessagePort } from "../port/half.ts";
import { isTopic, type Topic } from "../topic.ts";

/** Options of `tally.half()`. */
export interface HalfOptions<In, Out = In> {
  readonly topic: Topic<In, Out>;
  /**
   * Whether the work that belongs to a message was done: asked when nobody is at it any more, in whichever process of the
   * service declares this half. `"commit"`: it was; `"rollback"`: it was not, and will not be; `"unknown"`, or throwing: asked
   * again after a while. The body is what a consumer would get.
   */
  readonly check: (body: Out, about: HalfContext) => Decision | Promise<Decision>;
  /**
   * How long a half message is nobody else's; renewed while its work, or a check, is running. When a process was killed, its
   * half messages are checked after so long. A check that takes longer has answered `unknown`.
   * @default "15s"
   */
  readonly lease?: Duration;
  /** Wait after the first `unknown`; doubles each time. @default "1s" */
  readonly checkMin?: Duration;
  /** The longest wait. @default "1m" */
  readonly checkMax?: Duration;
  /**
   * Where a half message waits for its decision. `"broker"`, on a broker that keeps half messages itself (RocketMQ): it is
   * there before the work begins, and `run()` rejects, without work, when the broker does not take it within `brokerWithin`.
   * `"either"`: then it waits in the outbox alone, and is sent when it is committed. `"outbox"`: always there alone. Whatever
   * this says, it is in the outbox too: decisions are recorded there.
   * @default "broker" where the broker keeps half messages, else "outbox"
   */
  readonly keep?: "broker" | "either" | "outbox";
  /** See `keep`. @default "10s" */
  readonly brokerWithin?: Duration;
  /** A half message is parked when it has been checked so often, and is as old as `maxAge`. @default 15 */
  readonly maxChecks?: number;
  /** See `maxChecks`. @default "1h" */
  readonly maxAge?: Duration;
}

/** What `work` and `check` are told of the message. */
export interface HalfContext {
  readonly id: string;
  readonly key: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /**
   * Fires when the tally closes and its time is up, when the caller's own signal does, and when this process stood still
   * for longer than the lease, so that another one is checking by now.
   */
  readonly signal: AbortSignal;
}

/** How `run()` ended. */
export interface HalfReceipt {
  readonly id: string;
  /** What is recorded; `unknown`: nothing is, and it will be checked. */
  readonly decision: Decision;
  /** Of the message, where it is `commit`: `stored`, and it will be sent. Else null. */
  readonly receipt: Receipt | null;
}

/** A half message without a decision, or with one and not yet among the rows, as a list shows it. */
export interface UndecidedHalf {
  readonly id: string;
  readonly key: string | null;
  readonly checks: number;
  /** Wall-clock milliseconds. */
  readonly preparedAt: number;
  /** Null: not parked, it is still checked. */
  readonly parkedAt: number | null;
  readonly reason: string | null;
}

/** A declared kind of half message. Made by `tally.half()`. */
export interface Half<In> {
  readonly name: string;
  /**
   * Stores the message without sending it, does the `work`, and records what the work said: `"commit"` sends the message,
   * `"rollback"`, or throwing, drops it, `"unknown"` leaves it to `check`. Resolves when that is durable. Whatever is killed in
   * between, the message is sent if the work was done, and not otherwise, as far as `check` can tell.
   *
   * One id is one half message with one decision: a second run of a decided one answers from the record, of an undecided one
   * asks `check`, and neither does the work.
   * @throws TallyError as `publish()` does for what cannot be sent · `store`, `store-full` · `conflict`: the id with another
   * body · `fenced`: somebody recorded the other decision first, and `mayArrive` says which · whatever `work` throws, when
   * the rollback is recorded
   */
  run(
    body: NoInfer<In>,
    work: (context: HalfContext) => Decision | Promise<Decision>,
    options?: HalfRunOptions,
  ): Promise<HalfReceipt>;
  /**
   * Without a decision, the oldest first; parked ones among them.
   * @param most 1–1,000,000. @default 100
   * @throws TallyError `bad-config`, `store`
   */
  undecided(most?: number): Promise<readonly UndecidedHalf[]>;
  /**
   * A person's decision: for one that is parked, or whose check cannot be waited for.
   * @returns what is recorded: the first decision stays. Null: there is no such half message (any more).
   * @throws TallyError `bad-config`, `store`
   */
  decide(id: string, decision: "commit" | "rollback"): Promise<"commit" | "rollback" | null>;
}

/**
 * Options of one `run()`: those of `publish()`, but no `tx` and no `delay` (`unsupported`). `deadline` is for the store's answers, and does
 * not end the work.
 */
export type HalfRunOptions = Omit<PublishOptions<never>, "tx" | "delay">;

/** The resolved options, in milliseconds. */
export interface HalfPolicy {
  readonly lease: number;
  readonly checkMin: number;
  readonly checkMax: number;
  readonly maxChecks: number;
  readonly maxAge: number;
  readonly keep: Keep;
  readonly brokerWithin: number;
}

type Keep = "broker" | "either" | "outbox";
type Check = HalfOptions<never, never>["check"];

interface Read extends Omit<HalfPolicy, "keep"> {
  readonly topic: Topic<never, never> | null;
  readonly check: Check | null;
  readonly keep: Keep | null;
}

const KEEPS: readonly unknown[] = ["broker", "either", "outbox"] satisfies readonly Keep[];

const BOUNDS: Bounds<Read> = {
  topic: value<Topic<never, never> | null>(null, "a topic, made by topic()", (v): v is Topic<never, never> =>
    isTopic(v),
  ),
  check: value<Check | null>(null, "a function from body to a decision", (v): v is Check => typeof v === "function"),
  lease: duration("15s", 1_000, 3_600_000),
  checkMin: duration("1s", 10, 3_600_000),
  checkMax: duration("1m", 10, 24 * 3_600_000),
  maxChecks: integer(15, 1, 1_000_000),
  maxAge: duration("1h", 1_000, 20 * 86_400_000),
  keep: value<Keep | null>(null, KEEPS.map((one) => JSON.stringify(one)).join(" or "), (v): v is Keep =>
    KEEPS.includes(v),
  ),
  brokerWithin: duration("10s", 10, 3_600_000),
};

/**
 * @param broker Null where the broker keeps no half messages.
 * @throws TallyError `bad-config`, `unsupported`
 */
export function resolveHalf(
  name: string,
  options: object,
  broker: Pick<HalfMessagePort, "refuses"> | null,
): { readonly topic: Topic<never, never>; readonly check: Check; readonly policy: HalfPolicy } {
  const where = `half ${JSON.stringify(name)}`;
  const { topic, check, keep, ...policy } = resolveOptions(where, options, BOUNDS);
  if (topic === null || check === null)
    throw new TallyError(
      "bad-config",
      `${where} needs a topic and check, the function that says whether its work was done`,
    );
  if (topic.outbox === "off")
    throw new TallyError(
      "bad-config",
      `${where}: topic ${topic.name} has outbox: "off", and a half message is stored first`,
    );
  assertRange(where, policy, "checkMin", "checkMax");
  return { topic, check, policy: { ...policy, keep: keepOf(where, topic, keep, broker) } };
}

/** @throws TallyError `unsupported`: what was asked for, or is the default, the broker cannot do */
function keepOf(
  where: string,
  topic: Topic<never, never>,
  keep: Keep | null,
  broker: Pick<HalfMessagePort, "refuses"> | null,
): Keep {
  if (keep === "outbox" || (keep === null && broker === null)) return "outbox";
  if (broker === null)
    throw new TallyError(
      "unsupported",
      `${where}: keep: ${JSON.stringify(keep)}, but this broker keeps no half messages`,
    );
  const { name, ordered, groups } = topic;
  const refused = broker.refuses({ name, ordered, groups });
  if (refused === null) return keep ?? "broker";
  throw new TallyError(refused.code, `${where}: ${textOf(refused)}; with keep: "outbox" they wait in the outbox alone`);
}
