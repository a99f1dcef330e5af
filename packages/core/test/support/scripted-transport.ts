import { seededRandom, virtualClock, type VirtualClock } from "@tallymq/testkit";
import { createEvents, type TallyEvent } from "../../src/events.ts";
import { resolveOptions } from "../../src/policy.ts";
import { PUBLISH_BOUNDS, type PublishPolicyOptions } from "../../src/publish/options.ts";
import { Publisher } from "../../src/publish/publisher.ts";
import type { Spill } from "../../src/publish/spilling.ts";
import type { InboxTransactions } from "../../src/stores.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Outgoing, Sender, SenderEvents, TopicPlan, Traits, Transport, Verdict } from "../../src/spi.ts";
import { TallyError } from "../../src/error.ts";

/** A copy on the wire: the test gives its verdict. */
export interface Copy {
  readonly session: number;
  readonly lane: number;
  /** Which call of `send` it came with, over all sessions. */
  readonly batch: number;
  readonly message: Outgoing;
  verdict(v: Verdict): void;
}

export const accepted: Verdict = Object.freeze({
  kind: "accepted",
  proof: Object.freeze({ routed: "yes", persisted: "yes", replicated: "unverified" }),
});
export const nack = (afterMs = 0): Verdict => ({
  kind: "later",
  afterMs,
  error: new TallyError("later", "nacked", { retryable: true }),
});
export const no = (kind: "unroutable" | "refused" | "unsent" | "doubt"): Exclude<Verdict, { kind: "accepted" }> => ({
  kind,
  error: new TallyError(kind === "doubt" ? "in-doubt" : kind, kind, {
    retryable: kind === "doubt" || kind === "unsent",
  }),
});

/** Waiting mends it. */
export const away: TallyError = new TallyError("unreachable", "away", { retryable: true });

/** One scripted session. */
export interface ScriptedSession {
  readonly number: number;
  readonly events: SenderEvents;
  disposed: boolean;
  /** Copies without a verdict. */
  open: Copy[];
  /** As a transport does it: `lost` first, then doubt for all that is open. */
  lose(): void;
}

export interface Rig {
  readonly clock: VirtualClock;
  readonly publisher: Publisher;
  readonly runtime: Runtime;
  readonly events: TallyEvent[];
  readonly sessions: ScriptedSession[];
  /** Every copy ever sent, in order. */
  readonly copies: Copy[];
  readonly declared: string[];
  readonly plans: TopicPlan[];
  /** While set, opening a session fails with it. */
  away: TallyError | null;
  /** What declaring a topic of this name gives. */
  readonly refuseTopic: Map<string, TallyError>;
  /** Declaring a topic of this name waits for it. */
  readonly hangingTopic: Map<string, Promise<void>>;
  /** While set, declaring waits for it. */
  declaring: Promise<void> | null;
  /** Gives a copy's verdict within `send`; null leaves it open. */
  atOnce: ((copy: Copy) => Verdict | null) | null;
  /** What a session says before it is handed out. */
  opening: ((events: SenderEvents) => void) | null;
  /** While set, disposing of a session waits for it. */
  leaving: Promise<void> | null;
  /** Called for each event, as a user's listener is. */
  listener: ((event: TallyEvent) => void) | null;
  count(type: TallyEvent["type"]): number;
}

export interface RigOptions extends PublishPolicyOptions {
  readonly traits?: Partial<Traits>;
  readonly lane?: (message: Outgoing, kept: number | null) => number;
  readonly kept?: (lane: number) => number | null;
  readonly topics?: readonly TopicPlan[];
  readonly seed?: number;
  readonly spill?: Spill;
  /** Their outbox is `spill.transactions`. */
  readonly transactions?: InboxTransactions<unknown>;
}

/** A publisher in virtual time over a transport whose every verdict the test gives. */
export function rig({
  traits,
  lane = () => 0,
  kept = () => null,
  topics = [],
  seed = 1,
  spill,
  transactions,
  ...publish
}: RigOptions = {}): Rig {
  const clock = virtualClock();
  const random = seededRandom(seed);
  const events: TallyEvent[] = [];
  const sessions: ScriptedSession[] = [];
  const copies: Copy[] = [];
  let batches = 0;
  const declared: string[] = [];
  const plansSeen: TopicPlan[] = [];
  const refuseTopic = new Map<string, TallyError>();
  const hangingTopic = new Map<string, Promise<void>>();

  function openSession(senderEvents: SenderEvents): Sender {
    const session: ScriptedSession = {
      number: sessions.length + 1,
      events: senderEvents,
      disposed: false,
      open: [],
      lose() {
        senderEvents.lost(new TallyError("session-lost", "cut", { retryable: true }));
        endAll(session);
      },
    };
    sessions.push(session);
    return {
      lane,
      kept,
      send(laneNumber, batch, verdict) {
        batches++;
        if (session.disposed) {
          for (const index of batch.keys()) verdict(index, no("unsent"));
          return;
        }
        for (const [index, message] of batch.entries()) {
          const copy: Copy = {
            session: session.number,
            lane: laneNumber,
            batch: batches,
            message,
            verdict(v) {
              if (!session.open.includes(copy)) throw new Error("the copy has its verdict");
              session.open = session.open.filter((other) => other !== copy);
              verdict(index, v);
            },
          };
          copies.push(copy);
          session.open.push(copy);
        }
        // As adapters do it: after the whole batch is on its way.
        if (state.atOnce === null) return;
        for (const copy of session.open.slice(-batch.length)) {
          const given = session.open.includes(copy) ? state.atOnce(copy) : null;
          if (given !== null && session.open.includes(copy)) copy.verdict(given);
        }
      },
      async [Symbol.asyncDispose]() {
        session.disposed = true;
        endAll(session);
        await state.leaving;
      },
    };
  }

  const transport: Transport = {
    name: "scripted",
    traits: {
      maxBytes: 1_000_000,
      inFlightPerLane: "window",
      lingerMs: 0,
      resendsInSession: false,
      unroutable: "reported",
      order: "queue",
      release: "now",
      deliveryLease: "none",
      position: false,
      countsDeliveries: true,
      longestDelay: 0,
      aheadBytes: 0,
      ...traits,
    },
    admin: {
      async declare(plans, signal) {
        if (state.declaring !== null) await state.declaring;
        signal.throwIfAborted();
        for (const plan of plans) {
          await hangingTopic.get(plan.name);
          const error = refuseTopic.get(plan.name);
          if (error !== undefined) throw error;
          declared.push(plan.name);
          plansSeen.push(plan);
        }
      },
      async declareDelays(plan, upToMs, signal) {
        signal.throwIfAborted();
        const error = refuseTopic.get(`${plan.name} delayed`);
        if (error !== undefined) throw error;
        declared.push(`${plan.name} delayed by ${upToMs}`);
      },
      backlog: async () => 0,
    },
    halfMessages: null,
    members: null,
    audit: null,
    async openSender(senderEvents) {
      if (state.away !== null) throw state.away;
      const sender = openSession(senderEvents);
      state.opening?.(senderEvents);
      return sender;
    },
    openReceiver: () => Promise.reject(new Error("not part of this rig")),
    async [Symbol.asyncDispose]() {},
  };
  const runtime: Runtime = {
    service: "shop",
    run: "a".repeat(32),
    clock,
    random,
    transport,
    events: createEvents(
      () => clock.wall(),
      (event) => {
        events.push(event);
        state.listener?.(event);
      },
    ),
    reconnect: { min: 100, max: 1_000 },
    connectWithin: 5_000,
  };
  const state: Omit<Rig, "publisher"> = {
    clock,
    runtime,
    events,
    sessions,
    copies,
    declared,
    plans: plansSeen,
    refuseTopic,
    hangingTopic,
    away: null,
    declaring: null,
    atOnce: null,
    opening: null,
    leaving: null,
    listener: null,
    count: (type) => events.filter((event) => event.type === type).length,
  };
  // Its first try to connect begins here, and looks at the state.
  return Object.assign(state, {
    publisher: new Publisher(
      runtime,
      resolveOptions("publish", publish, PUBLISH_BOUNDS as never),
      topics,
      spill ?? null,
      transactions ?? null,
    ),
  });
}

function endAll(session: ScriptedSession): void {
  for (const copy of session.open.slice()) copy.verdict(no("doubt"));
}

/** How a promise stands now, without waiting for it. */
export function watch<T>(promise: Promise<T>): {
  state: "pending" | "resolved" | "rejected";
  value: T | undefined;
  error: TallyError | undefined;
} {
  const seen: ReturnType<typeof watch<T>> = { state: "pending", value: undefined, error: undefined };
  promise.then(
    (value) => Object.assign(seen, { state: "resolved", value }),
    (error: unknown) => Object.assign(seen, { state: "rejected", error }),
  );
  return seen;
}
