import {
  type MemoryBroker,
  type MemoryInbox,
  memory,
  memoryInbox,
  seededRandom,
  virtualClock,
  type VirtualClock,
} from "@tallymq/testkit";
import { deadLetter, openTally, type Tally, type TallyEvent, type Topic, topic } from "../../src/index.ts";
import type { Incoming } from "../../src/spi.ts";
import { turns } from "./guarded.ts";

export interface Order {
  readonly n: number;
  readonly key: string;
}

export const orders: Topic<Order> = topic<Order>("orders", {
  groups: ["billing", "mail"],
  key: (o) => o.key,
  ordered: true,
});

/** A group that gives up everything, in virtual time, and what it left. */
export interface LetterBench {
  readonly clock: VirtualClock;
  readonly broker: MemoryBroker;
  readonly inbox: MemoryInbox;
  readonly tally: Tally;
  readonly events: TallyEvent[];
  /** Publishes orders 1 to n, one a key of `keys` in turn, and waits until they are letters. */
  die(n: number, keys?: readonly string[]): Promise<void>;
  /** What lies in the queue of dead letters. */
  letters(): readonly Incoming[];
  /** What lies in a group's queue. */
  queued(group: string): readonly Incoming[];
  /** Settles as `work` does, while virtual time goes on. */
  run<T>(work: Promise<T>): Promise<T>;
  /** So much virtual time, in small steps. */
  pass(ms: number): Promise<void>;
  /** A tally of its own on the same broker and inbox. */
  another(): Promise<Tally>;
}

export async function letterBench(of: Topic<Order> = orders): Promise<LetterBench> {
  const clock = virtualClock();
  const broker = memory({ clock });
  const inbox = memoryInbox();
  const events: TallyEvent[] = [];
  let seed = 0;
  const another = (): Promise<Tally> =>
    run(
      openTally(
        { service: "shop", broker, inbox, onEvent: (event) => void events.push(event) },
        { clock, random: seededRandom(++seed), diagnose: () => {} },
      ),
    );
  async function run<T>(work: Promise<T>): Promise<T> {
    let over = false;
    void Promise.allSettled([work]).then(() => (over = true));
    for (let step = 0; !over; step++) {
      if (step > 20_000) throw new Error("it does not end");
      await turns(2);
      if (!over) await clock.advance(10);
    }
    return await work;
  }
  const tally = await another();
  const name = `${of.name}.billing.dead-letters`;
  const bench: LetterBench = {
    clock,
    broker,
    inbox,
    tally,
    events,
    run,
    async pass(ms) {
      for (const until = clock.now() + ms; clock.now() < until;) {
        await turns(2);
        await clock.advance(10);
      }
    },
    another,
    async die(n, keys = ["a"]) {
      const consumer = await run(
        tally
          .consumer("billing", { onError: (_error, { id }) => deadLetter(`no ${id}`) })
          .on(of, () => Promise.reject(new Error("no")))
          .start(),
      );
      const before = events.filter(({ type }) => type === "dead-lettered").length;
      for (let i = 1; i <= n; i++)
        await run(
          tally.publish(of, { n: i, key: keys[i % keys.length]! }, { id: `o-${i}`, headers: { trace: `t-${i}` } }),
        );
      await run(
        (async () => {
          while (events.filter(({ type }) => type === "dead-lettered").length < before + n) await turns(1);
        })(),
      );
      await run(consumer.close());
    },
    letters: () => broker.messages(name, "dead-letters").map(({ message }) => message),
    queued: (group) => broker.messages(of.name, group).map(({ message }) => message),
  };
  return bench;
}

export const ids = (messages: readonly { readonly id: string | null }[]): (string | null)[] =>
  messages.map(({ id }) => id);

/** A consumer of billing that can do it now. */
export async function working(
  b: LetterBench,
  of = orders,
): Promise<{ readonly id: string | null; readonly n: number }[]> {
  const seen: { id: string | null; n: number }[] = [];
  await b.run(
    b.tally
      .consumer("billing")
      .on(of, ({ n }, { id }) => void seen.push({ id, n }))
      .start(),
  );
  return seen;
}
