import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { openTally, type Tally, type TallyError, type Topic, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { sqlite } from "@tallymq/store-sqlite";
import { afterAll, beforeAll, expect, it, onTestFailed } from "vitest";
import { type RabbitCluster, startRabbitCluster } from "../brokers/index.ts";

const KILLS = 2;
/** Messages a second. */
const RATE = 300;
const TICK_MS = 10;
/** Confirms that show that all is well, before a kill and after it. */
const WELL = 2 * RATE;

/** A gap that ends later than this after a kill has another cause. */
const FORGOTTEN_MS = 12_000;

let cluster: RabbitCluster;
let folder: string;
beforeAll(async () => {
  cluster = await startRabbitCluster();
  folder = mkdtempSync(join(tmpdir(), "tally-nodes-"));
});
afterAll(async () => {
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Publishes at its rate until stopped, and notes when each was confirmed. */
class Load {
  readonly confirmed: { readonly id: string; readonly at: number }[] = [];
  readonly rejected: TallyError[] = [];
  readonly #tally: Tally;
  readonly #orders: Topic<{ readonly n: number }>;
  readonly #under: Set<Promise<void>> = new Set();
  readonly #running: Promise<void>;
  #on = true;

  constructor(tally: Tally, orders: Topic<{ readonly n: number }>) {
    this.#tally = tally;
    this.#orders = orders;
    this.#running = this.#run();
  }

  /** Resolves when so many more are confirmed. */
  async confirms(more: number): Promise<void> {
    const goal = this.confirmed.length + more;
    await expect.poll(() => this.confirmed.length, { timeout: 60_000 }).toBeGreaterThan(goal);
  }

  async stop(): Promise<void> {
    this.#on = false;
    await this.#running;
    await Promise.all(this.#under);
  }

  async #run(): Promise<void> {
    const start = performance.now();
    let n = 0;
    while (this.#on) {
      while (n < ((performance.now() - start) * RATE) / 1_000) this.#publish(n++);
      await delay(TICK_MS);
    }
  }

  #publish(n: number): void {
    const id = `o-${n}`;
    const under = this.#tally
      .publish(this.#orders, { n }, { id, deadline: "2m" })
      .then(
        () => void this.confirmed.push({ id, at: performance.now() }),
        (error: TallyError) => void this.rejected.push(error),
      )
      .finally(() => this.#under.delete(under));
    this.#under.add(under);
  }

  /** Seconds after a kill: the longest time without a confirm, and until they come at their rate again, behind that gap. */
  figures(killedAt: number): { readonly gap: number; readonly recovery: number } {
    const times = this.confirmed.map(({ at }) => at);
    const gaps = times.map((at, i) => (at > killedAt && at < killedAt + FORGOTTEN_MS ? at - (times[i - 1] ?? at) : 0));
    const gap = Math.max(...gaps);
    const well = (from: number): boolean => times.filter((at) => at >= from && at < from + 1_000).length >= 0.9 * RATE;
    const back = times.slice(gaps.indexOf(gap)).find(well) ?? times.at(-1)!;
    return { gap: gap / 1_000, recovery: (back - killedAt) / 1_000 };
  }
}

it(`three nodes, the leader of the queue killed with -9 under load, ${KILLS} times: 0 lost, 0 duplicate effects`, async () => {
  const path = join(folder, "effects.db");
  const orders = topic<{ readonly n: number }>("orders", { groups: ["billing"] });
  const counted = { "session-lost": 0, resend: 0 };
  const start = performance.now();
  const journal: string[] = [];
  const note = (what: string): void =>
    void journal.push(`${((performance.now() - start) / 1_000).toFixed(1)} s: ${what}`);
  onTestFailed(() => console.log(journal.join("\n")));
  await using tally = await openTally({
    service: "shop",
    broker: rabbitmq({ urls: cluster.urls }),
    inbox: sqlite(path),
    reconnect: { max: "1s" },
    onEvent(event) {
      if (event.type in counted) counted[event.type as keyof typeof counted]++;
      if (event.type !== "resend") note("error" in event ? `${event.type}: ${String(event.error)}` : event.type);
    },
  });
  const effects = new DatabaseSync(path, { timeout: 10_000 });
  effects.exec("CREATE TABLE effects (id TEXT NOT NULL)");
  await using _billing = await tally
    .consumer("billing", { effect: "tx", lanes: 64 })
    .on(orders, async (_order, { id, tx }) => {
      await tx.run("INSERT INTO effects VALUES (?)", [id]);
    })
    .start();
  const load = new Load(tally, orders);
  const kills: { readonly at: number; readonly node: string; readonly lost: number; readonly resends: number }[] = [];
  for (let i = 0; i < KILLS; i++) {
    await load.confirms(WELL);
    const leader = await cluster.leaderOf("orders.billing");
    if (i === 0) await Promise.all(cluster.nodes.map((node) => node.admin.flushDeclares()));
    const before = { ...counted };
    const at = performance.now();
    await leader.kill();
    note(`${leader.name} killed`);
    await load.confirms(WELL);
    note(`${load.confirmed.length} confirmed`);
    kills.push({
      at,
      node: leader.name,
      lost: counted["session-lost"] - before["session-lost"],
      resends: counted.resend - before.resend,
    });
    if (i < KILLS - 1) await leader.start();
    note(i < KILLS - 1 ? "the node is back" : "enough");
  }
  await load.stop();
  note(`${load.confirmed.length} confirmed, ${load.rejected.length} rejected`);

  const ids = new Set(load.confirmed.map(({ id }) => id));
  const count = effects.prepare("SELECT count(*) AS all_of_them, count(DISTINCT id) AS ids FROM effects");
  await expect.poll(() => count.get()!["ids"], { timeout: 60_000, interval: 200 }).toBe(ids.size);
  const done = new Set(
    effects
      .prepare("SELECT id FROM effects")
      .all()
      .map(({ id }) => String(id)),
  );
  const duplicates = Number(count.get()!["all_of_them"]) - done.size;
  effects.close();
  for (const { at, node, lost, resends } of kills) {
    const { gap, recovery } = load.figures(at);
    console.log(
      `${node} killed: no confirm for ${gap.toFixed(2)} s, ${RATE}/s again after ${recovery.toFixed(2)} s; ${lost} sessions lost, ${resends} resends`,
    );
  }
  console.log(`${ids.size} confirmed, ${load.rejected.length} rejected, ${duplicates} duplicate effects`);
  expect({ lost: [...ids.difference(done)], duplicates, rejected: load.rejected }).toEqual({
    lost: [],
    duplicates: 0,
    rejected: [],
  });
  expect(ids.size).toBeGreaterThan(KILLS * WELL);
  const leader = await cluster.leaderOf("orders.billing");
  await expect.poll(() => leader.admin.ready("orders.billing")).toBe(0);
  // Each step has a limit of its own; on a busy machine their sum is more than a test's.
}, 300_000);
