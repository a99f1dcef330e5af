import type { Clock } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import type { HalfStats, HalfStore } from "../half/store.ts";
import type { InboxStore, OutboxStats, OutboxStore } from "../stores.ts";
import { Growth } from "./growth.ts";
import type { HealthPolicy } from "./options.ts";
import { type CheckName, type Finding, type Health, report } from "./report.ts";

/** How publishing stands; moments are of the monotonic clock. */
export interface PublisherStatus {
  readonly destination: string;
  /** Since when there is no session; null while there is one. */
  readonly downSince: number | null;
  /** Why, if that is known. */
  readonly trouble: TallyError | null;
  readonly blockedSince: number | null;
  /** When the oldest `publish()` without a verdict was called. */
  readonly oldestSince: number | null;
  readonly breakers: readonly { readonly topic: string; readonly since: number }[];
}

export interface SubscriptionStatus {
  /** Topic and group. */
  readonly what: string;
  readonly downSince: number | null;
  /** Why, if that is known. */
  readonly trouble: TallyError | null;
  /** Its schema could not read what came. */
  readonly paused: boolean;
}

/** Whom `health()` asks. What is synchronous is a look at memory. */
export interface HealthSources {
  readonly clock: Clock;
  readonly policy: HealthPolicy;
  isClosed(): boolean;
  publisher(): PublisherStatus;
  subscriptions(): readonly SubscriptionStatus[];
  /** Stores with rows; the first one is where messages go while the broker is away, if `takes`. */
  readonly outboxes: readonly {
    readonly name: string;
    readonly takes: boolean;
    readonly store: Pick<OutboxStore, "stats">;
  }[];
  readonly inbox: Pick<InboxStore<unknown>, "parked"> | null;
  readonly halves: Pick<HalfStore, "stats"> | null;
  /** Half messages that the broker has dropped, and when it last did; null: none. */
  dropped(): { readonly messages: number; readonly at: number } | null;
  /** Errors and warnings that stand. */
  audit(): readonly { readonly what: string; readonly text: string }[];
}

/** A half message that has no decision after so long: its work takes very long, or nobody who runs declares it. */
const HALF_STUCK_MS = 3_600_000;
/** What the broker has dropped is shown for so long. */
const DROPPED_MS = 3_600_000;
/** More parked keys than this are not counted out. */
const MOST_KEYS = 1_000;

/** Looks at everything that can go wrong without an error at a call. Never throws, and never takes longer than its limit. */
export class HealthRoom {
  readonly #o: HealthSources;
  readonly #growth: Map<string, Growth> = new Map();

  constructor(sources: HealthSources) {
    this.#o = sources;
  }

  async look(): Promise<Health> {
    const found: Record<CheckName, Finding[]> = {
      closed: [],
      unreachable: [],
      blocked: [],
      store: [],
      stuck: [],
      growing: [],
      parked: [],
      breaker: [],
      paused: [],
      audit: this.#o.audit().map(({ what, text }) => ({ what, text, status: "degraded" as const })),
    };
    if (this.#o.isClosed()) {
      // The stores may be closed already.
      found.closed.push({ what: "tally", text: "it was closed", status: "failing" });
      return report(found);
    }
    const looks = this.#o.outboxes.map((outbox) => this.#outbox(found, outbox));
    await Promise.all([...looks, this.#inbox(found), this.#halves(found)]);
    const stored = this.#o.outboxes.some(({ name, takes }) => takes && !found.store.some(({ what }) => what === name));
    this.#publisher(found, stored);
    this.#subscriptions(found);
    return report(found);
  }

  /** @param stored While the broker is away messages go into an outbox that answers: publishing still works. */
  #publisher(found: Record<CheckName, Finding[]>, stored: boolean): void {
    const { unreachableAfter, stuckAfter } = this.#o.policy;
    const now = this.#o.clock.now();
    const { destination, downSince, trouble, blockedSince, oldestSince, breakers } = this.#o.publisher();
    const status = stored ? "degraded" : "failing";
    if (downSince !== null && (now - downSince >= unreachableAfter || isFinal(trouble)))
      found.unreachable.push({
        what: destination,
        text: `no session for publishing for ${seconds(now - downSince)}${because(trouble)}`,
        status,
      });
    if (blockedSince !== null && now - blockedSince >= unreachableAfter)
      found.blocked.push({
        what: destination,
        text: `the broker has read nothing for ${seconds(now - blockedSince)}`,
        status,
      });
    if (oldestSince !== null && now - oldestSince >= stuckAfter)
      found.stuck.push({
        what: destination,
        text: `a publish() has had no verdict for ${seconds(now - oldestSince)}`,
        status: "degraded",
      });
    for (const { topic, since } of breakers)
      found.breaker.push({
        what: topic,
        text: `the broker has not taken its messages for ${seconds(now - since)}`,
        status: "degraded",
      });
  }

  #subscriptions(found: Record<CheckName, Finding[]>): void {
    const now = this.#o.clock.now();
    for (const { what, downSince, trouble, paused } of this.#o.subscriptions()) {
      if (paused)
        found.paused.push({
          what,
          text: "it has left the topic, whose bodies its schema could not read, until resume()",
          status: "degraded",
        });
      else if (downSince !== null && (now - downSince >= this.#o.policy.unreachableAfter || isFinal(trouble)))
        found.unreachable.push({
          what,
          text: `no session for receiving for ${seconds(now - downSince)}${because(trouble)}`,
          status: "degraded",
        });
    }
  }

  async #outbox(
    found: Record<CheckName, Finding[]>,
    { name, store }: HealthSources["outboxes"][number],
  ): Promise<void> {
    const stats = await this.#ask<OutboxStats>(found, name, () => store.stats());
    if (stats === null) return;
    const { clock, policy } = this.#o;
    const growth = this.#growth.get(name) ?? new Growth();
    this.#growth.set(name, growth);
    const grown = growth.look(clock.now(), stats.rows);
    if (grown !== null && grown.forMs >= policy.growingFor && stats.rows >= policy.growingRows)
      found.growing.push({
        what: name,
        text: `${stats.rows} rows, ${grown.by} more than ${seconds(grown.forMs)} ago`,
        status: "degraded",
      });
    const age = stats.oldestAt === null ? 0 : clock.wall() - stats.oldestAt;
    if (age >= policy.stuckAfter)
      found.stuck.push({ what: name, text: `a row has waited for ${seconds(age)}`, status: "degraded" });
    if (stats.parked > 0)
      found.parked.push({
        what: name,
        text: `${count(stats.parked, "row")} parked, for a person to look at`,
        status: "degraded",
      });
  }

  async #inbox(found: Record<CheckName, Finding[]>): Promise<void> {
    const { inbox } = this.#o;
    if (inbox === null) return;
    const keys = await this.#ask(found, "inbox", () => inbox.parked(null, null, MOST_KEYS));
    if (keys === null || keys.length === 0) return;
    const most = keys.length === MOST_KEYS ? "at least " : "";
    found.parked.push({
      what: "inbox",
      text: `${most}${count(keys.length, "key")} parked, for a person to look at`,
      status: "degraded",
    });
  }

  async #halves(found: Record<CheckName, Finding[]>): Promise<void> {
    const { halves, clock } = this.#o;
    if (halves === null) return;
    const what = "half messages";
    const dropped = this.#o.dropped();
    if (dropped !== null && clock.now() - dropped.at < DROPPED_MS)
      found.stuck.push({
        what,
        text: `the broker has dropped ${dropped.messages}, of any service, that nobody decided while it asked`,
        status: "degraded",
      });
    // A store that fails is found by its rows.
    const stats = await this.#ask<HalfStats>({ ...found, store: [] }, what, () => halves.stats());
    if (stats === null) return;
    const age = stats.oldestAt === null ? 0 : clock.wall() - stats.oldestAt;
    if (age >= HALF_STUCK_MS)
      found.stuck.push({ what, text: `one has had no decision for ${seconds(age)}`, status: "degraded" });
    if (stats.parked > 0)
      found.parked.push({
        what,
        text: `${count(stats.parked, "half message")} parked, for a person to decide`,
        status: "degraded",
      });
  }

  /** Null, and a finding, when the store fails or does not answer in time. */
  async #ask<T>(found: Record<CheckName, Finding[]>, what: string, question: () => Promise<T>): Promise<T | null> {
    const { clock, policy } = this.#o;
    const late = Promise.withResolvers<never>();
    const timer = clock.after(policy.answerWithin, () =>
      late.reject(new TallyError("store", `no answer within ${policy.answerWithin} ms`)),
    );
    try {
      return await Promise.race([question(), late.promise]);
    } catch (thrown) {
      found.store.push({ what, text: describe(thrown), status: "failing" });
      return null;
    } finally {
      timer.cancel();
    }
  }
}

/** Waiting alone does not mend it: that is said at once. */
function isFinal(trouble: TallyError | null): boolean {
  return trouble !== null && !trouble.retryable;
}

function because(trouble: TallyError | null): string {
  return trouble === null ? "" : `: ${trouble.message}`;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}

function count(n: number, what: string): string {
  return n === 1 ? `1 ${what}` : `${n} ${what}s`;
}
