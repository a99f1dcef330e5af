import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LedgerWriter } from "@tallymq/testkit/ledger";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NOTHING } from "../../integration-tests/workload/member.ts";
import type { Order } from "../../integration-tests/workload/order.ts";
import type { Member } from "../../integration-tests/workload/process.ts";
import { publishShare, type PublishingJob } from "../../integration-tests/workload/publishing.ts";
import { answersOf, countsOf, type Counts } from "../faults/count.ts";
import { inCalls } from "../clients/kafka/calls.ts";
import type { KafkaRecord } from "../clients/kafka/client.ts";
import { problemsOf as kafkaProblemsOf } from "../faults/kafka/verdict.ts";
import { effectsRow, problemsOf, type Row } from "../faults/verdict.ts";

const MESSAGES = 40;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tally-compare-test-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A queue without a broker. */
class Queue {
  readonly copies = new Map<string, number>();
  put({ id }: Order, n = 1): void {
    this.copies.set(id, (this.copies.get(id) ?? 0) + n);
  }
}

/** Publishes as a client's process does, through the same calls and the same ledger, and counts as a run does. */
async function count(publish: (order: Order, queue: Queue, nth: number) => void): Promise<Counts> {
  const queue = new Queue();
  using ledger = new LedgerWriter({ folder, run: "compare", proc: "client", epoch: 1 });
  const job: PublishingJob = {
    role: "publisher",
    run: "compare",
    proc: "client",
    epoch: 1,
    ledger: folder,
    crash: null,
    seed: 1,
    share: { first: 0, step: 1, end: MESSAGES, rate: 10_000, window: MESSAGES },
  };
  const never = new Promise<void>(() => {});
  const member: Member<PublishingJob> = {
    job,
    ledger,
    go: Promise.resolve(),
    stop: never,
    onPress: () => {},
    onHold: () => {},
    onRejoin: () => {},
    ready: () => {},
    report: () => {},
  };
  let nth = 0;
  const options = { ordered: false, forgetful: false };
  const one = async (order: Order): Promise<null> => {
    publish(order, queue, nth++);
    return null;
  };
  await publishShare(member, { ...NOTHING }, one, options);
  return countsOf(answersOf(folder, "client"), queue.copies, MESSAGES);
}

const EVEN: Counts = { resolved: MESSAGES, lost: 0, rejected: 0, rejectedThere: 0, unanswered: 0, duplicated: 0 };

describe("what is counted of a client", () => {
  it("that puts each message into the queue once comes out even", async () => {
    expect(await count((order, queue) => queue.put(order))).toEqual(EVEN);
  });

  it("that forgets messages has lost them", async () => {
    const forgetful = await count((order, queue, nth) => {
      if (nth % 10 !== 0) queue.put(order);
    });
    expect(forgetful).toEqual({ ...EVEN, lost: 4 });
  });

  it("that sends some twice or thrice has duplicated them, copy by copy", async () => {
    expect(await count((order, queue, nth) => queue.put(order, nth < 3 ? nth + 1 : 1))).toEqual({
      ...EVEN,
      duplicated: 3,
    });
  });

  it("that rejects says no more than that: some of those may be there", async () => {
    const doubtful = await count((order, queue, nth) => {
      if (nth !== 0) queue.put(order);
      if (nth < 2) throw new Error("channel closed");
    });
    expect(doubtful).toEqual({ ...EVEN, resolved: MESSAGES - 2, rejected: 2, rejectedThere: 1 });
  });

  it("that died leaves calls without an answer, and those that it never made", () => {
    const queue = new Queue();
    using ledger = new LedgerWriter({ folder, run: "compare", proc: "client", epoch: 1 });
    ledger.write({ op: "invoke", id: "order-0" });
    ledger.write({ op: "accepted", id: "order-0" });
    ledger.write({ op: "invoke", id: "order-1" });
    queue.put({ id: "order-0" } as Order);
    expect(countsOf(answersOf(folder, "client"), queue.copies, MESSAGES)).toEqual({
      ...EVEN,
      resolved: 1,
      unanswered: MESSAGES - 1,
    });
  });
});

describe("what must hold of Tally", () => {
  const row: Row = {
    client: "tally",
    ...EVEN,
    effects: { doubled: 0, missing: 0, recognised: 7 },
    seconds: 1,
    ended: null,
  };
  const kills = [{ part: "broker", at: 1, lasted: 1, inFlight: { tally: 3 } }];
  const plan = { messages: MESSAGES, kills: 1 };
  const problems = (change: Partial<Row>): readonly string[] =>
    problemsOf([{ ...row, ...change }], kills, plan, "tally");

  it("is said to hold only if all of it does", () => {
    expect(problems({})).toEqual([]);
    expect(problems({ resolved: 39 })).toEqual(["tally: 39 of 40 resolved"]);
    expect(problems({ lost: 1 })).toEqual(["tally: 1 lost"]);
    expect(problems({ rejected: 2 })).toEqual(["tally: 2 rejected"]);
    expect(problems({ ended: "tally ended by itself" })).toEqual(["tally: tally ended by itself"]);
    const copies = new Map([
      ["order-0", 1],
      ["order-1", 2],
    ]);
    expect(problems({ effects: effectsRow(new Map([["order-0", 2]]), copies, 0) })).toEqual([
      "tally: 1 effects doubled",
      "tally: 1 effects missing",
    ]);
  });

  it("proves nothing where a kill found it with nothing to publish", () => {
    const late = [{ part: "broker", at: 1, lasted: 1, inFlight: { amqplib: 3 } }];
    expect(problemsOf([row], late, plan, "tally")).toEqual(["tally: 0 of 1 kills found it publishing"]);
  });

  it("is not what others are held to", () => {
    expect(problems({ client: "amqplib", lost: 130 })).toEqual([]);
  });
});

it("what must hold of Tally in each scenario is said to hold only if all of it does", () => {
  const row = {
    scenario: "cut",
    client: "tally",
    ...EVEN,
    effects: { doubled: 0, missing: 0, recognised: 7 },
    seconds: 1,
    ended: null,
    met: true,
  };
  const problems = (change: Partial<typeof row>): readonly string[] =>
    kafkaProblemsOf([{ ...row, ...change }], MESSAGES, "tally");
  // Duplicates are printed: one effect is made of them.
  expect(problems({ duplicated: 5 })).toEqual([]);
  expect(problems({ lost: 1, resolved: 39 })).toEqual(["cut, tally: 39 of 40 resolved", "cut, tally: 1 lost"]);
  expect(problems({ rejected: 2 })).toEqual(["cut, tally: 2 rejected"]);
  expect(problems({ effects: { doubled: 1, missing: 2, recognised: 0 } })).toEqual([
    "cut, tally: 1 effects doubled",
    "cut, tally: 2 effects missing",
  ]);
  expect(problems({ met: false })).toEqual(["cut, tally: had nothing left to publish when the fault began"]);
  expect(problems({ client: "kafkajs", lost: 130 })).toEqual([]);
});

it("what is published in one turn of the loop is one call, of so many at most", async () => {
  const calls: string[][] = [];
  const send = (records: readonly KafkaRecord[]): Promise<void> => {
    calls.push(records.map(({ id }) => id));
    return records.some(({ id }) => id === "4") ? Promise.reject(new Error("no")) : Promise.resolve();
  };
  const record = (n: number): KafkaRecord => ({ id: String(n), key: null, value: Buffer.alloc(0) });
  await using publisher = inCalls(2, send, async () => {});
  const answers = await Promise.allSettled([0, 1, 2, 3, 4].map((n) => publisher.publish(record(n))));
  expect(calls).toEqual([["0", "1"], ["2", "3"], ["4"]]);
  expect(answers.map(({ status }) => status)).toEqual([...Array<string>(4).fill("fulfilled"), "rejected"]);
});
