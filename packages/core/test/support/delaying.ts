import {
  memory,
  type MemoryBroker,
  memoryInbox,
  seededRandom,
  type VirtualClock,
  virtualClock,
} from "@tallymq/testkit";
import type { ConsumerOptions, Context, Tally, TallyEvent, Topic } from "../../src/index.ts";
import { openTally } from "../../src/open.ts";

export interface Order {
  readonly n: number;
}

export interface Run {
  readonly n: number;
  readonly at: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** A tally in virtual time on the embedded broker, and what its handler saw. */
export interface DelayBench extends AsyncDisposable {
  readonly clock: VirtualClock;
  readonly broker: MemoryBroker;
  readonly tally: Tally;
  readonly runs: Run[];
  of(type: TallyEvent["type"]): readonly TallyEvent[];
  start(topic: Topic<Order>, options: ConsumerOptions, handler: (n: number, context: Context) => void): Promise<void>;
  /** So long, in small steps, with everything that follows from each. */
  pass(ms: number): Promise<void>;
  /** States of the group's queue, by the bodies' numbers. */
  queue(topic: string, group?: string): readonly string[];
}

export async function delaying(inbox: "inbox" | "none" = "none", seed = 1): Promise<DelayBench> {
  const clock = virtualClock();
  const broker = memory({ clock });
  const events: TallyEvent[] = [];
  const runs: Run[] = [];
  const tally = await openTally(
    {
      service: "shop",
      broker,
      onEvent: (event) => void events.push(event),
      ...(inbox === "inbox" ? { inbox: memoryInbox() } : {}),
    },
    { clock, random: seededRandom(seed), diagnose: () => {} },
  );
  return {
    clock,
    broker,
    tally: tally as Tally,
    runs,
    of: (type) => events.filter((event) => event.type === type),
    async start(topic, options, handler) {
      const starting = (tally as Tally)
        .consumer("billing", options)
        .on(topic, ({ n }: Order, context) => {
          runs.push({ n, at: clock.now(), headers: { ...context.headers } });
          handler(n, context);
        })
        .start();
      await clock.advance(0);
      await starting;
    },
    async pass(ms) {
      for (let left = ms; left > 0; left -= 50) await clock.advance(Math.min(50, left));
      await clock.advance(0);
    },
    queue: (topic, group = "billing") =>
      broker
        .messages(topic, group)
        .map(({ message, state }) => `${(JSON.parse(new TextDecoder().decode(message.body)) as Order).n} ${state}`),
    async [Symbol.asyncDispose]() {
      const closing = tally.close({ within: 1_000 });
      for (let i = 0; i < 40; i++) await clock.advance(100);
      await closing;
    },
  };
}
