import { memoryInbox, type MemoryTx, seededRandom } from "@tallymq/testkit";
import { expect, test } from "vitest";
import { deadLetter, release, retry } from "../../src/consume/rulings.ts";
import { TallyError } from "../../src/error.ts";
import type { TxContext } from "../../src/consume/options.ts";
import { topic } from "../../src/topic.ts";
import { type GuardedBench, turns, type World, world } from "../support/guarded.ts";

const orders = topic<{ id: string }>("orders");
const MESSAGES = 30;

/** A queue, two consumers of one group that come and go, and what the broker has been told. */
async function run(seed: number): Promise<{ readonly w: World; readonly letters: readonly string[] }> {
  const random = seededRandom(seed);
  const pick = (n: number): number => Math.floor(random.unit() * n);
  const w = world(memoryInbox());
  const letters: string[] = [];
  // Each of them twice: published again by a publisher that did not know.
  let queue = Array.from({ length: 2 * MESSAGES }, (_, i) => `m${i % MESSAGES}`);
  const live: { process: GuardedBench; out: string[]; seen: number }[] = [];
  let faults = 40;

  async function join(): Promise<void> {
    const process = await w.process();
    await (
      process.consumer({
        effect: "tx",
        lanes: 4,
        lease: "2s",
        retryMin: 1,
        retryMax: 50,
        maxAttempts: 1_000,
        onError: (_error, { attempt }) => [retry(), release(), deadLetter("chance")][attempt > 3 ? 2 : pick(8) % 3]!,
      }) as never as {
        on: (
          of: typeof orders,
          handler: (body: unknown, context: TxContext<MemoryTx>) => Promise<void>,
        ) => { start(): Promise<unknown> };
      }
    )
      .on(orders, async (_body, { tx, id }) => {
        tx.set(id!, ((tx.get(id!) as number | undefined) ?? 0) + 1);
        await turns(pick(6));
        if (pick(4) === 0) throw new Error("chance");
        // Now and then longer than the lease; renewed, or not if its process is killed meanwhile.
        if (pick(10) === 0) await new Promise<void>((resolve) => w.clock.after(pick(5_000), resolve));
      })
      .start();
    live.push({ process, out: [], seen: 0 });
  }

  /** What a consumer has settled since, as the broker takes it. */
  function collect(one: (typeof live)[number]): void {
    const { settled } = one.process.receiver;
    for (const line of settled.slice(one.seen)) {
      const [kind, id] = line.split(" ") as [string, string];
      one.out.splice(one.out.indexOf(id), 1);
      if (kind === "release") queue.push(id);
    }
    one.seen = settled.length;
  }

  function leave(one: (typeof live)[number]): void {
    collect(one);
    one.process.kill();
    letters.push(...one.process.letters.map(({ options }) => options.id!));
    queue = [...one.out, ...queue];
    live.splice(live.indexOf(one), 1);
  }

  await join();
  await join();
  for (let step = 0; queue.length > 0 || live.some(({ out }) => out.length > 0); step++) {
    if (step > 20_000)
      throw new Error(
        `seed ${seed}: no end; in the queue ${queue.join()}, out ${live.map(({ out }) => out.join()).join(" | ")}`,
      );
    for (const one of live) {
      while (queue.length > 0 && one.out.length < 8) {
        const id = queue.shift()!;
        one.out.push(id);
        one.process.receiver.deliver({ id });
      }
    }
    await turns(1 + pick(3));
    if (pick(3) === 0) await w.clock.advance(pick(200));
    for (const one of live) collect(one);
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
      } else if (fault === 3)
        for (const { process } of live)
          process.noLetters = process.noLetters === null ? new TallyError("later", "nacked") : null;
      else {
        leave(live[pick(live.length)]!);
        await join();
      }
    }
    if (faults === 0) for (const { process } of live) process.noLetters = null;
  }
  for (const { process } of live) letters.push(...process.letters.map(({ options }) => options.id!));
  return { w, letters };
}

test("whatever is killed, fenced or broken: each message has one effect or a dead letter, never two, never both, never neither", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const { w, letters } = await run(seed);
    for (let i = 0; i < MESSAGES; i++) {
      const id = `m${i}`;
      const state = w.inbox.marks.find(({ key }) => key.id === id)?.state;
      const effects = Number(w.inbox.rows.get(id) ?? 0);
      const outcome = `seed ${seed}, ${id}: ${state}, ${effects} effects, letter ${letters.includes(id)}`;
      expect([
        `seed ${seed}, ${id}: done, 1 effects, letter false`,
        `seed ${seed}, ${id}: dead, 0 effects, letter true`,
      ]).toContain(outcome);
    }
  }
}, 60_000);
