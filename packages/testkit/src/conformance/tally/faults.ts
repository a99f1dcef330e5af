import assert from "node:assert/strict";
import type { Receipt } from "@tallymq/core";
import type { ConformanceCase } from "../case.ts";
import { definite, rejects } from "./expect.ts";
import { tallyCase, type TallyStage } from "./stage.ts";

interface Order {
  readonly n: number;
}

const KEYS = 4;
/** Publishes without a receipt at one time. */
const WORKERS = 50;

export const tallyFaultCases: readonly ConformanceCase[] = [
  tallyCase(
    "through a kill -9 and a restart every publish resolves, and nothing accepted is lost",
    ["kill"],
    async (s) => {
      const orders = s.topic<Order>("killed");
      const observed = await s.tally({ topics: [orders] });
      const effects = await s.consumer(observed.tally, orders);
      const stream = new Stream(s, (n) => observed.tally.publish(orders, { n }, { id: `m-${n}` }));
      await stream.has(100);
      await s.rig.kill!.begin();
      await s.outage(observed);
      const resolved = stream.receipts.length;
      await s.rig.kill!.end();
      await stream.has(resolved + 400);
      const receipts = await stream.end();
      await effects.has(receipts.map((r) => r.id));
      await s.allSettled(orders);
    },
  ),

  tallyCase("through cuts every publish resolves, and nothing accepted is lost", ["cut"], async (s) => {
    const orders = s.topic<Order>("cut");
    const observed = await s.tally({ topics: [orders] });
    const effects = await s.consumer(observed.tally, orders);
    const stream = new Stream(s, (n) => observed.tally.publish(orders, { n }, { id: `m-${n}` }));
    for (const mark of [100, 300]) {
      await stream.has(mark);
      await s.rig.cut!();
    }
    await stream.has(500);
    const receipts = await stream.end();
    await effects.has(receipts.map((r) => r.id));
    if (s.rig.endsWithConnection) await s.event(observed, "session-lost");
    await s.allSettled(orders);
  }),

  tallyCase("first effects of an ordered key keep the order of publish across cuts", ["cut", "order"], async (s) => {
    const orders = s.topic<Order>("ordered", { key: (o) => `k${o.n % KEYS}`, ordered: true });
    const observed = await s.tally({ topics: [orders] });
    const effects = await s.consumer(observed.tally, orders, { credit: 16 });
    const stream = new Stream(s, (n) => observed.tally.publish(orders, { n }, { id: `m-${n}` }));
    for (const mark of [40, 120]) {
      await stream.has(mark);
      await s.rig.cut!();
    }
    await stream.has(200);
    await effects.has((await stream.end()).map((r) => r.id));
    if (s.rig.endsWithConnection) await s.event(observed, "session-lost");
    const seen = new Set<string | null>();
    const firsts = effects.seen.filter(({ id }) => !seen.has(id) && seen.add(id)).map((e) => e.body.n);
    for (let key = 0; key < KEYS; key++) {
      const order = firsts.filter((n) => n % KEYS === key);
      assert.deepEqual(
        order,
        order.toSorted((a, b) => a - b),
        `expected first effects of k${key} in the order of publish`,
      );
    }
  }),

  tallyCase("what is in doubt is sent again under the same id", ["pause", "cut", "ends"], async (s) => {
    const orders = s.topic<Order>("doubt");
    const observed = await s.tally({ topics: [orders] });
    const { tally, wire } = observed;
    await s.settled("a receipt", tally.publish(orders, { n: 0 }));
    await s.rig.pause!.begin();
    let publishing: ReturnType<typeof many>;
    try {
      publishing = many(s, 20, (n) => tally.publish(orders, { n }, { id: `m-${n}` }));
      await s.quiet();
      assert.equal(publishing.resolved, 0, "expected no receipt from a broker that is paused");
      await s.rig.cut!();
    } finally {
      await s.rig.pause!.end();
    }
    const receipts = await s.settled("20 receipts", publishing.all);
    assert.ok(
      [...wire.copies.values()].some((copies) => copies > 1),
      "expected a second copy of something",
    );
    const effects = await s.consumer(tally, orders);
    await effects.has(receipts.map((r) => r.id));
    await s.event(observed, "resend");
  }),

  tallyCase(
    "while the broker is away a deadline passes, definitely, and later publishes get through",
    ["kill", "ends"],
    async (s) => {
      const orders = s.topic<Order>("away");
      const observed = await s.tally({ topics: [orders] });
      const { tally } = observed;
      await s.settled("a receipt", tally.publish(orders, { n: 0 }));
      await s.rig.kill!.begin();
      let waiting: Promise<Receipt>;
      try {
        await s.event(observed, "session-lost");
        definite(
          await s.settled(
            "the deadline",
            rejects(tally.publish(orders, { n: 1 }, { id: "late", deadline: 50 }), "deadline"),
          ),
        );
        waiting = tally.publish(orders, { n: 2 }, { id: "waiting" });
        waiting.catch(() => {});
      } finally {
        await s.rig.kill!.end();
      }
      await s.settled("a receipt", waiting);
      const effects = await s.consumer(tally, orders);
      await effects.has(["waiting"]);
      await s.quiet();
      assert.deepEqual(
        effects.seen.filter((e) => e.id === "late").length,
        0,
        "expected that what was definite never arrives",
      );
    },
  ),

  tallyCase("a tally opens while the broker is away, and works once it is back", ["kill"], async (s) => {
    const orders = s.topic<Order>("early");
    await s.rig.kill!.begin();
    let publishing: Promise<Receipt>;
    let tally;
    try {
      tally = (await s.tally({ topics: [orders] })).tally;
      publishing = tally.publish(orders, { n: 1 }, { id: "early" });
      publishing.catch(() => {});
    } finally {
      await s.rig.kill!.end();
    }
    await s.settled("a receipt", publishing);
    const effects = await s.consumer(tally, orders);
    await effects.has(["early"]);
  }),

  tallyCase("a nack is asked again until the message is accepted", ["nack"], async (s) => {
    const orders = s.topic<Order>("nacked");
    const observed = await s.tally({ topics: [orders] });
    const { tally } = observed;
    await s.settled("receipts", Promise.all([0, 1].map((n) => tally.publish(orders, { n }))));
    const undo = await s.rig.nack!(orders, "g");
    const publishing = many(s, 50, (n) => tally.publish(orders, { n }, { id: `m-${n}` }));
    await s.event(observed, "resend");
    assert.ok(publishing.resolved < 50, "expected that a nack is not a receipt");
    await undo();
    // Only now: a queue that is emptied while it is full takes some of what comes together, and in transactions nobody is
    // told which, so that those are sent again.
    const effects = await s.consumer(tally, orders);
    const receipts = await s.settled("50 receipts", publishing.all);
    await effects.has(receipts.map((r) => r.id));
    await s.quiet();
    assert.equal(effects.seen.length, 52, "expected one effect for each: what was nacked was not stored");
  }),

  tallyCase("while publishers are blocked publish waits, and consumers go on", ["block"], async (s) => {
    const orders = s.topic<Order>("blocked");
    const observed = await s.tally({ topics: [orders] });
    const { tally } = observed;
    await s.settled("receipts", Promise.all(Array.from({ length: 10 }, (_, n) => tally.publish(orders, { n }))));
    await s.rig.block!.begin();
    let publishing: ReturnType<typeof many>;
    try {
      publishing = many(s, 20, (n) => tally.publish(orders, { n }, { id: `m-${n}` }));
      await s.event(observed, "blocked");
      const effects = await s.consumer(tally, orders);
      await s.watch.until(
        "10 effects",
        () => effects.seen.length >= 10,
        () => effects.seen.length,
      );
      await s.allSettled(orders);
      assert.equal(publishing.resolved, 0, "expected no receipt from a broker that reads nothing");
    } finally {
      await s.rig.block!.end();
    }
    await s.settled("20 receipts", publishing.all);
    await s.event(observed, "unblocked");
  }),
];

interface Publishing {
  readonly resolved: number;
  readonly all: Promise<readonly Receipt[]>;
}

/** Publishes without waiting for one another, and counts what has resolved. */
function many(s: TallyStage, count: number, publish: (n: number) => Promise<Receipt>): Publishing {
  let resolved = 0;
  const noted = async (receipt: Promise<Receipt>): Promise<Receipt> => {
    const got = await receipt;
    resolved++;
    s.watch.changed();
    return got;
  };
  const all = Promise.all(Array.from({ length: count }, (_, n) => noted(publish(n))));
  // Whoever waits for `all` hears of a rejection; until then it is nobody's failure.
  all.catch(() => {});
  return {
    get resolved() {
      return resolved;
    },
    all,
  };
}

/** Publishes without end, so that a fault meets messages in flight whenever it strikes. */
class Stream {
  readonly receipts: Receipt[] = [];
  readonly #s: TallyStage;
  readonly #all: Promise<unknown>;
  #next = 0;
  #ended = false;

  constructor(s: TallyStage, publish: (n: number) => Promise<Receipt>) {
    this.#s = s;
    const work = async (): Promise<void> => {
      while (!this.#ended) {
        this.receipts.push(await publish(this.#next++));
        s.watch.changed();
        // A broker in this process answers within microtasks: a stream of these would let no timer run, and no fault come.
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    this.#all = Promise.all(Array.from({ length: WORKERS }, work));
    this.#all.catch(() => (this.#ended = true));
  }

  async has(count: number): Promise<void> {
    await this.#s.watch.until(
      `${count} receipts`,
      () => this.receipts.length >= count,
      () => this.receipts.length,
    );
  }

  /** Every publish has resolved. */
  async end(): Promise<readonly Receipt[]> {
    this.#ended = true;
    await this.#s.settled("every publish to resolve", this.#all);
    return this.receipts;
  }
}
