import { type MemoryInbox, memoryInbox, seededRandom, virtualClock, type VirtualClock } from "@tallymq/testkit";
import { createConsumerBuilder } from "../../src/consume/consumer.ts";
import { Members } from "../../src/consume/members.ts";
import type { ConsumerBuilder, ConsumerOptions, TxConsumerOptions } from "../../src/consume/options.ts";
import { createEvents, type EventType, type TallyEvent } from "../../src/events.ts";
import { createParked, type Parked } from "../../src/park/parked.ts";
import { MemoryBound } from "../../src/memory.ts";
import { Runners } from "../../src/park/runners.ts";
import type { PublishOptions } from "../../src/publish/options.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { InboxStore, MembersPort, Traits } from "../../src/spi.ts";
import { TallyError } from "../../src/error.ts";
import { type ScriptedReceiver, ScriptedTransport } from "./receiving.ts";

/** A dead letter, as it was handed to the publisher. */
export interface Letter {
  readonly topic: string;
  readonly groups: readonly string[];
  readonly contentType: string;
  readonly body: string;
  readonly bytes: Uint8Array;
  readonly producer: string | null;
  readonly contentEncoding: string | null;
  readonly options: PublishOptions;
}

/** One process: consumers over a scripted wire, and an inbox that it may share with others. */
export interface GuardedBench {
  readonly transport: ScriptedTransport;
  readonly events: TallyEvent[];
  readonly letters: Letter[];
  /** While set, no letter goes out. */
  noLetters: TallyError | null;
  of<T extends EventType>(type: T): Extract<TallyEvent, { readonly type: T }>[];
  consumer(options?: ConsumerOptions | TxConsumerOptions, group?: string): ConsumerBuilder<never>;
  readonly receiver: ScriptedReceiver;
  /** `tally.parked` of this process. */
  readonly parked: Parked;
  /** As kill -9 does: its timers fire no more, what it settles reaches nobody, and its store answers and writes no more. */
  kill(): void;
}

export interface World {
  readonly clock: VirtualClock;
  readonly inbox: MemoryInbox;
  /** While true, what a store is asked is done, and answered by an error: its thread ended after the commit. */
  answersLost: boolean;
  /** @param card What another member of its groups shows of itself; null: nobody looks. */
  process(traits?: Partial<Traits>, card?: string | null): Promise<GuardedBench>;
  /** Time goes on in small steps, with turns of the event loop in between for the answers of stores. */
  pass(ms: number): Promise<void>;
  /** The same until `predicate` holds; fails at the limit. */
  until(predicate: () => boolean, limitMs: number): Promise<void>;
}

const STEP = 100;

/** Several processes in one virtual time. */
export function world(inbox: MemoryInbox = memoryInbox()): World {
  const clock = virtualClock();
  let seed = 0;
  async function step(ms: number): Promise<void> {
    await clock.advance(ms);
    await turns(4);
  }
  const world: World = {
    answersLost: false,
    async pass(ms) {
      for (let left = ms; left > 0; left -= STEP) await step(Math.min(STEP, left));
    },
    async until(predicate, limitMs) {
      await turns(4);
      for (let left = limitMs; !predicate(); left -= STEP) {
        if (left <= 0) throw new Error(`not reached within ${limitMs} ms of virtual time`);
        await step(STEP);
      }
    },
    clock,
    inbox,
    async process(traits = {}, card = null) {
      let alive = true;
      const transport = new ScriptedTransport(traits);
      const events: TallyEvent[] = [];
      const letters: Letter[] = [];
      const out = new Set<string>();
      const own = { ...clock, after: (ms: number, fn: () => void) => clock.after(ms, () => alive && fn()) };
      const store = mortal(
        await inbox.openInbox({ clock: own, random: seededRandom(1), surfaced: () => {} }),
        () => alive,
        () => world.answersLost,
      );
      const runtime: Runtime = {
        service: "shop",
        run: "0123456789abcdef0123456789abcdef",
        clock: own,
        random: seededRandom(++seed),
        events: createEvents(
          () => clock.wall(),
          (event) => void events.push(event),
        ),
        transport,
        reconnect: { min: 100, max: 5_000 },
        connectWithin: 10_000,
      };
      const runners = new Runners();
      const members = card === null ? null : new Members(runtime, showing(card), store.id, "warn");
      const bench: GuardedBench = {
        transport,
        events,
        letters,
        noLetters: null,
        of: <T extends EventType>(type: T) =>
          events.filter((e): e is Extract<TallyEvent, { readonly type: T }> => e.type === type),
        consumer: (options, group = "billing") =>
          createConsumerBuilder(
            runtime,
            {
              inbox: store,
              members,
              audit: () => Promise.resolve(),
              memory: new MemoryBound(runtime.events, null),
              runners,
              transacted: null,
              async publish(topic, body, given, own) {
                // As the publisher: one id at a time is one message.
                const line = `${topic.name} ${given.id}`;
                if (out.has(line)) throw new TallyError("conflict", "in flight with another body");
                out.add(line);
                await turns(2);
                out.delete(line);
                if (bench.noLetters !== null) throw bench.noLetters;
                const { contentType } = topic.codec;
                letters.push({
                  topic: topic.name,
                  groups: topic.groups,
                  contentType,
                  body: new TextDecoder().decode(body),
                  bytes: body,
                  producer: own.producer ?? null,
                  contentEncoding: own.contentEncoding ?? null,
                  options: given,
                });
                return {
                  id: given.id ?? "",
                  state: "confirmed",
                  proof: { routed: "yes", persisted: "yes", replicated: "yes" },
                };
              },
            },
            group,
            options,
            () => {},
            () => {},
          ) as ConsumerBuilder<never>,
        get receiver() {
          const last = transport.receivers.at(-1);
          if (last === undefined) throw new Error("no receiver is open");
          return last;
        },
        parked: createParked(store, [], runners, runtime.events, () => {}),
        kill() {
          alive = false;
          bench.receiver.events.lost(new TallyError("session-lost", "killed"));
        },
      };
      return bench;
    },
  };
  return world;
}

function showing(card: string): MembersPort {
  return {
    async join(_topic, _group, _own, seen) {
      seen(card);
      return { [Symbol.asyncDispose]: () => Promise.resolve() };
    },
  };
}

/** So many turns of the event loop: what a store's answers take. */
export async function turns(most = 20): Promise<void> {
  for (let i = 0; i < most; i++) await new Promise((resolve) => setImmediate(resolve));
}

const NEVER: Promise<never> = new Promise(() => {});

/** The store of a process that may be killed: from then on nothing is asked and nothing is answered, and no effect commits. */
function mortal(store: InboxStore<unknown>, alive: () => boolean, lost: () => boolean): InboxStore<unknown> {
  const answered = (value: unknown): unknown => {
    if (!alive()) return NEVER;
    if (lost()) throw new TallyError("store", "its thread ended", { mayArrive: true });
    return value;
  };
  const guarded = <T extends object>(of: T): T =>
    new Proxy(of, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (name === "transactions" && typeof member === "object" && member !== null) return guarded(member);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => {
          if (!alive()) return NEVER;
          const call = args.map((arg) => (typeof arg === "function" ? whileAlive(arg as Effect, alive) : arg));
          const answer: unknown = Reflect.apply(member, target, call);
          return answer instanceof Promise ? answer.then(answered) : answer;
        };
      },
    });
  return guarded(store);
}

type Effect = (tx: unknown) => Promise<unknown>;

function whileAlive(effect: Effect, alive: () => boolean): Effect {
  return async (tx) => {
    const result = await effect(tx);
    if (!alive()) throw new Error("killed");
    return result;
  };
}
