import type { MemoryBroker, VirtualClock } from "@tallymq/testkit";
import { TallyError } from "../../src/error.ts";
import type {
  Broker,
  Decision,
  HalfEvents,
  HalfMessagePort,
  HalfSession,
  Incoming,
  Outgoing,
  Sure,
  Transport,
  Verdict,
} from "../../src/spi.ts";
import { accepted } from "./scripted-transport.ts";

interface Kept {
  readonly name: string;
  readonly message: Outgoing;
  readonly handle: string;
  readonly bornAt: number;
  state: "half" | "committed" | "rolledBack" | "dropped";
  asked: number;
}

const FIRST_MS = 3_000;
const EACH_MS = 5_000;
const MOST = 15;
/** After which the broker asks no more. */
export const ASKS_FOR_MS: number = FIRST_MS + EACH_MS * (MOST + 1);

/**
 * A broker that keeps half messages as RocketMQ does: it asks one producer after the other, 15 times, also while there is none,
 * and then drops them; it says OK to what it loses; what is committed twice at the same moment is handed out twice.
 */
export class HalfBroker {
  readonly halves: Kept[] = [];
  /** `id decision`, each as it came: by a producer's own, or as its answer. */
  readonly told: string[] = [];
  readonly answers: string[] = [];
  /** Null: as it is. */
  verdict: Verdict | null = null;
  /** Opening fails with it. */
  away: TallyError | null = null;
  losesCommits = false;
  losesAnswers = false;
  /** Nobody can look into the broker. */
  blind = false;
  droppedBefore = 0;
  /** Of a session, each `prepare` waits for it. */
  gate: Promise<void> = Promise.resolve();
  /** What the end of a session waits for. */
  leaving: Promise<void> = Promise.resolve();
  readonly #sessions: Set<{ readonly events: HalfEvents; readonly alive: () => boolean }> = new Set();
  readonly #memory: MemoryBroker;
  readonly #clock: VirtualClock;
  #next = 0;

  constructor(memory: MemoryBroker, clock: VirtualClock) {
    this.#memory = memory;
    this.#clock = clock;
    const tick = (): void => {
      this.#check();
      clock.after(EACH_MS, tick);
    };
    clock.after(EACH_MS, tick);
  }

  /** The broker as one process has it. */
  of(alive: () => boolean): Broker {
    return {
      name: this.#memory.name,
      open: (host) => {
        const inner = this.#memory.open(host);
        return {
          name: inner.name,
          traits: inner.traits,
          admin: inner.admin,
          members: inner.members,
          audit: inner.audit,
          halfMessages: this.#port(inner, alive),
          openSender: (events, signal) => inner.openSender(events, signal),
          openReceiver: (subscription, events, signal) => inner.openReceiver(subscription, events, signal),
          [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
        };
      },
    };
  }

  /** Asks now. */
  ask(id: string): void {
    for (const half of this.halves) if (half.message.id === id) this.#ask(half);
  }

  /** Every session of the processes that live. */
  lose(): void {
    for (const session of [...this.#sessions]) {
      this.#sessions.delete(session);
      session.events.lost(new TallyError("session-lost", "cut", { retryable: true }));
    }
  }

  #port(inner: Transport, alive: () => boolean): HalfMessagePort {
    const blind = (): void => {
      if (this.blind) throw new TallyError("unreachable", "the ports are closed", { retryable: true });
    };
    return {
      refuses: ({ name, ordered }) =>
        ordered ? new TallyError("unsupported", `topic ${JSON.stringify(name)} is ordered`) : null,
      open: async (topics, events) => {
        if (this.away !== null) throw this.away;
        await inner.admin.declare(topics, new AbortController().signal);
        const session = { events, alive };
        this.#sessions.add(session);
        return this.#session(inner, session);
      },
      delivered: async ({ id }): Promise<Sure> => {
        blind();
        return this.halves.some(({ message, state }) => message.id === id && state === "committed") ? "yes" : "no";
      },
      asksFor: async () => {
        blind();
        return ASKS_FOR_MS;
      },
      dropped: async () => {
        blind();
        return this.droppedBefore + this.halves.filter(({ state }) => state === "dropped").length;
      },
    };
  }

  #session(inner: Transport, session: { readonly events: HalfEvents; readonly alive: () => boolean }): HalfSession {
    return {
      add: (topic, signal) => inner.admin.declare([topic], signal),
      prepare: async (name, message) => {
        await this.gate;
        if (!session.alive()) return new Promise(() => {});
        const verdict = this.verdict ?? accepted;
        // What is in doubt is there.
        if (verdict.kind !== "accepted" && verdict.kind !== "doubt") return { verdict, handle: null };
        const handle = `${this.halves.length}`;
        const bornAt = this.#clock.now();
        this.halves.push({ name, message: { ...message }, handle, bornAt, state: "half", asked: 0 });
        return { verdict, handle: verdict.kind === "accepted" ? handle : null };
      },
      decide: async ({ id }, handle, decision) => {
        if (!session.alive()) return new Promise(() => {});
        this.told.push(`${id} ${decision}`);
        if (this.losesCommits) return;
        this.#decide(this.halves[Number(handle)]!, decision);
      },
      [Symbol.asyncDispose]: async () => {
        this.#sessions.delete(session);
        await this.leaving;
      },
    };
  }

  /** As the broker does it: handed out when it is committed, whatever it was before, unless that was long ago. */
  #decide(half: Kept, decision: "commit" | "rollback"): void {
    if (half.state === "half") half.state = decision === "commit" ? "committed" : "rolledBack";
    else if (half.state !== "committed" || decision !== "commit") return;
    if (half.state === "committed") void this.#deliver(half.message);
  }

  #check(): void {
    for (const half of this.halves) {
      if (half.state !== "half" || this.#clock.now() - half.bornAt < FIRST_MS) continue;
      if (++half.asked > MOST) half.state = "dropped";
      else this.#ask(half);
    }
  }

  #ask(half: Kept): void {
    const living = [...this.#sessions].filter(({ alive }) => alive());
    const one = living[this.#next++ % living.length];
    if (one === undefined) return;
    one.events.asked(half.name, incoming(half.message), (decision: Decision) => {
      if (!one.alive()) return;
      this.answers.push(`${half.message.id} ${decision}`);
      if (decision !== "unknown" && !this.losesAnswers) this.#decide(half, decision);
    });
  }

  async #deliver(message: Outgoing): Promise<void> {
    const none = (): void => {};
    const events = { blocked: none, unblocked: none, retired: none, lost: none, surfaced: none };
    const random = { unit: () => 0, bytes: (length: number) => new Uint8Array(length) };
    const transport = this.#memory.open({ service: "broker", run: "b".repeat(32), clock: this.#clock, random });
    const sender = await transport.openSender(events, new AbortController().signal);
    sender.send(sender.lane(message, null), [message], none);
  }
}

function incoming(message: Outgoing): Incoming {
  const { ordered: _ordered, group: _group, delayMs: _delayMs, ...rest } = message;
  return { ...rest, native: null };
}
