import { memoryInbox, type MemoryTx, seededRandom } from "@tallymq/testkit";
import { expect, test } from "vitest";
import type { TxContext } from "../../src/consume/options.ts";
import { park, release, retry } from "../../src/consume/rulings.ts";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { type GuardedBench, turns, type World, world } from "../support/guarded.ts";

const orders = topic<{ id: string }>("orders", { key: () => "", ordered: true });
const KEYS = ["a", "b", "c"];
const OF_KEY = 8;

interface Message {
  readonly id: string;
  readonly key: string;
  /** Deliveries so far. */
  count: number;
}

interface Run {
  readonly w: World;
  readonly counts: Map<string, number>;
}

/**
 * An ordered queue: one consumer of the group is active, what it releases or leaves comes again before all else, in order.
 * The other processes stand by, and may replay.
 */
async function run(seed: number): Promise<Run> {
  const random = seededRandom(seed);
  const pick = (n: number): number => Math.floor(random.unit() * n);
  const maxParked = pick(3) === 0 ? 4 : Number.POSITIVE_INFINITY;
  const w = world(memoryInbox({ maxParked }));
  const counts = new Map<string, number>();
  /** Each key in its order; each message twice, published again by a publisher that did not know. */
  let queue: Message[] = [];
  for (let n = 0; n < OF_KEY; n++)
    for (const key of KEYS)
      queue.push({ id: `${key}${n}`, key, count: 0 }, { id: `${key}${Math.max(0, n - pick(3))}`, key, count: 0 });
  const live: { process: GuardedBench; out: Message[]; seen: number }[] = [];
  const replays = new Set<Promise<unknown>>();
  let faults = 40;

  async function join(): Promise<void> {
    const process = await w.process();
    const builder = process.consumer({
      effect: "tx",
      lanes: 4,
      lease: "2s",
      retryMin: 1,
      retryMax: 50,
      maxAttempts: 1_000,
      onError: (_error, { attempt }) => [retry(), park("chance"), release()][attempt > 2 ? 1 : pick(5) % 3]!,
    }) as never as {
      on(
        of: typeof orders,
        handler: (body: { id: string }, context: TxContext<MemoryTx>) => Promise<void>,
      ): { start(): Promise<unknown> };
    };
    await builder
      .on(orders, async ({ id }, { tx, key }) => {
        tx.set(key!, [...((tx.get(key!) as string[] | undefined) ?? []), id]);
        await turns(pick(6));
        if (faults > 0 && pick(5) === 0) throw new Error("chance");
        if (faults > 0 && pick(20) === 0)
          await new Promise<void>((resolve) => void w.clock.after(pick(4_000), resolve));
      })
      .start();
    live.push({ process, out: [], seen: 0 });
  }

  /** What a consumer has settled since, as the broker takes it. */
  function collect(one: (typeof live)[number]): void {
    const settled = one.process.receiver.batches.flat();
    const back: Message[] = [];
    for (const { kind, delivery } of settled.slice(one.seen)) {
      // Of two equal ones the first to come: as the broker, which goes by tags.
      const at = one.out.findIndex(({ id, count }) => id === delivery.message.id && count === delivery.count);
      const [message] = one.out.splice(at, 1);
      if (kind === "release") back.push(message!);
    }
    one.seen = settled.length;
    queue = [...back, ...queue];
  }

  function leave(one: (typeof live)[number]): void {
    collect(one);
    one.process.kill();
    for (const { type } of one.process.events) counts.set(type, (counts.get(type) ?? 0) + 1);
    queue = [...one.out, ...queue];
    live.splice(live.indexOf(one), 1);
  }

  function replay({ process }: (typeof live)[number], key: string): void {
    const replaying = process.parked.keys
      .replay({ group: "billing", topic: "orders", key })
      .catch(() => {})
      .finally(() => replays.delete(replaying));
    replays.add(replaying);
  }

  await join();
  await join();
  const done = (): boolean => queue.length === 0 && live.every(({ out }) => out.length === 0);
  for (let step = 0; !done() || w.inbox.parked.length > 0; step++) {
    if (step > 20_000)
      throw new Error(`seed ${seed}: no end; parked ${w.inbox.parked.map(({ message }) => message.id).join()}`);
    const active = live[0]!;
    while (queue.length > 0 && active.out.length < 8) {
      const message = queue.shift()!;
      message.count++;
      active.out.push(message);
      active.process.receiver.deliver({ ...message });
    }
    await turns(1 + pick(3));
    if (pick(3) === 0) await w.clock.advance(pick(300));
    for (const one of live) collect(one);
    if (w.inbox.parked.length > 0 && pick(12) === 0) replay(live[pick(live.length)]!, KEYS[pick(3)]!);
    if (faults > 0 && pick(6) === 0) {
      faults--;
      const fault = pick(6);
      if (fault === 0) w.inbox.expireLeases();
      else if (fault === 1) {
        w.inbox.broken = new TallyError("store", "away", { retryable: true });
        await turns(1 + pick(4));
        w.inbox.broken = null;
      } else if (fault === 2) {
        w.answersLost = true;
        await turns(1 + pick(4));
        w.answersLost = false;
      } else {
        leave(live[pick(live.length)]!);
        await join();
      }
    }
  }
  for (const { process } of live) for (const { type } of process.events) counts.set(type, (counts.get(type) ?? 0) + 1);
  return { w, counts };
}

test("whatever is parked, replayed, killed, fenced or broken: each message has one effect, and those of a key come in its order", async () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= 80; seed++) {
    const { w, counts } = await run(seed);
    for (const key of KEYS)
      expect(w.inbox.rows.get(key), `seed ${seed}, key ${key}`).toEqual(
        Array.from({ length: OF_KEY }, (_, n) => `${key}${n}`),
      );
    for (const [type, n] of counts) seen.set(type, (seen.get(type) ?? 0) + n);
  }
  // What never happened proves nothing.
  for (const type of [
    "key-parked",
    "parked-behind",
    "parked-full",
    "key-replayed",
    "replay-stopped",
    "released",
    "busy",
  ])
    expect([type, (seen.get(type) ?? 0) > 20]).toEqual([type, true]);
}, 120_000);
