import {
  memory,
  type MemoryBroker,
  memoryOutbox,
  type MemoryOutbox,
  seededRandom,
  virtualClock,
  type VirtualClock,
} from "@tallymq/testkit";
import { armFailpoints, type Failpoint } from "../../src/failpoints.ts";
import {
  type Decision,
  type EventType,
  type Half,
  type HalfOptions,
  openTally,
  type Tally,
  type TallyEvent,
  type Topic,
  topic,
} from "../../src/index.ts";
import { HalfBroker } from "./half-broker.ts";
import type { OutboxSpec } from "../../src/stores.ts";

export interface Order {
  readonly n: number;
}

export const plain: Topic<Order> = topic<Order>("plain", { groups: ["billing"] });
export const ordered: Topic<Order> = topic<Order>("ordered", { key: () => "k", ordered: true, groups: ["billing"] });

/** One process of the service, with one declared half. */
export interface HalfProcess {
  readonly tally: Tally;
  readonly half: Half<Order>;
  readonly events: TallyEvent[];
  /** Bodies that `check` was asked about. */
  readonly asked: Order[];
  of<T extends EventType>(type: T): Extract<TallyEvent, { readonly type: T }>[];
  /** As kill -9 does: no timer of it fires any more, and no call of a store reaches one or comes back. */
  kill(): void;
  /** Its clock stands still, as when the machine suspends it alone; what fell due fires when it goes on. */
  freeze(frozen: boolean): void;
}

export interface HalfWorld {
  readonly clock: VirtualClock;
  readonly outbox: MemoryOutbox;
  readonly broker: MemoryBroker;
  /** The same broker, as one that keeps half messages itself; null where it does not. */
  readonly keeper: HalfBroker | null;
  process(
    check?: HalfOptions<Order>["check"],
    options?: Partial<HalfOptions<Order>> & { readonly topics?: readonly Topic<Order>[] },
  ): Promise<HalfProcess>;
  /** Time goes on in small steps, with turns of the event loop in between. */
  pass(ms: number, step?: number): Promise<void>;
  /** Ids of the messages in the broker, in their order. */
  sent(of?: Topic<Order>): readonly string[];
}

const STEP = 100;

/** @param options.keeps The broker keeps half messages itself, as RocketMQ does. */
export function halfWorld({ keeps = false }: { readonly keeps?: boolean } = {}): HalfWorld {
  const clock = virtualClock();
  const outbox = memoryOutbox();
  const broker = memory();
  const keeper = keeps ? new HalfBroker(broker, clock) : null;
  let seed = 0;
  return {
    clock,
    outbox,
    broker,
    keeper,
    async process(check = () => "unknown", { topic: of = plain, topics = [plain, ordered], ...options } = {}) {
      let [alive, frozen] = [true, false];
      const late: (() => void)[] = [];
      const own = {
        ...clock,
        after: (ms: number, fn: () => void) =>
          clock.after(ms, () => {
            if (frozen) late.push(fn);
            else if (alive) fn();
          }),
      };
      const events: TallyEvent[] = [];
      const asked: Order[] = [];
      const spec: OutboxSpec = {
        openOutbox: async (host) => mortal(await outbox.openOutbox(host), () => alive),
      };
      const tally = await openTally(
        {
          service: "shop",
          broker: keeper?.of(() => alive) ?? broker,
          outbox: spec,
          topics,
          onEvent: (event) => events.push(event),
        },
        { clock: own, random: seededRandom(++seed), diagnose: () => {} },
      );
      const half = tally.half<Order, Order>("payment", {
        ...options,
        topic: of,
        check(body, about) {
          if (!alive) return new Promise(() => {});
          asked.push(body);
          return check(body, about);
        },
      });
      return {
        tally,
        half: {
          name: half.name,
          run: (body, work, given) =>
            half.run(
              body,
              typeof work === "function" ? (about) => (alive ? work(about) : new Promise(() => {})) : work,
              given,
            ),
          undecided: (most) => half.undecided(most),
          decide: (id, decision) => half.decide(id, decision),
        },
        events,
        asked,
        of: <T extends EventType>(type: T) =>
          events.filter((e): e is Extract<TallyEvent, { readonly type: T }> => e.type === type),
        kill() {
          alive = false;
          outbox.stealLease(); // the system ends a lock with its process
        },
        freeze(is) {
          frozen = is;
          if (!is) for (const fn of late.splice(0)) fn();
        },
      };
    },
    async pass(ms, step = STEP) {
      await turns();
      for (let left = ms; left > 0; left -= step) {
        await clock.advance(Math.min(step, left));
        await turns(4);
      }
      await turns();
    },
    sent: (of = plain) => broker.messages(of.name, "billing").map(({ message }) => message.id ?? ""),
  };
}

/** A store whose calls, once the process is dead, neither begin nor come back. */
function mortal<T extends object>(store: T, alive: () => boolean): T {
  return new Proxy(store, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value === "function")
        return (...args: unknown[]) => {
          if (!alive()) return new Promise(() => {});
          const result = (value as (...given: unknown[]) => unknown).apply(target, args);
          if (!(result instanceof Promise)) return result;
          return new Promise((resolve, reject) => {
            result.then(
              (given: unknown) =>
                alive() &&
                resolve(typeof given === "object" && given !== null && "take" in given ? mortal(given, alive) : given),
              (error: unknown) => alive() && reject(error as Error),
            );
          });
        };
      return typeof value === "object" && value !== null && name === "halves" ? mortal(value, alive) : value;
    },
  });
}

/** Kills the process when it comes to a point for the first time. What follows in that turn reaches nobody. */
export function killAt(point: Failpoint, kill: () => void): void {
  armFailpoints((passed) => {
    if (passed !== point) return;
    armFailpoints(null);
    kill();
  });
}

export async function turns(most = 12): Promise<void> {
  for (let i = 0; i < most; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Work that is done when it is called, and says so. */
export function does(done: Set<string>, decision: Decision = "commit") {
  return ({ id }: { readonly id: string }): Decision => {
    done.add(id);
    return decision;
  };
}
