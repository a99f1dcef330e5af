import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Outgoing } from "@tallymq/core/spi";
import { type VirtualClock, virtualClock } from "@tallymq/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { decodeEntry, encodeMessage } from "../../src/broker/log/entries.ts";
import { readLog } from "../../src/broker/log/recover.ts";
import { Store } from "../../src/broker/process/store.ts";
import { incoming } from "../../src/memory/traits.ts";
import { message, ORDERS } from "../support/harness.ts";

const HOUR = 3_600_000;
const PLAN = { ...ORDERS, groups: ["billing", "audit"] };

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "tally-"))));
afterEach(() => rmSync(dir, { recursive: true }));

function open(clock: VirtualClock, compactAbove?: number): Store {
  return new Store({
    dataDir: dir,
    clock,
    maxBacklog: Number.POSITIVE_INFINITY,
    deliveryLimit: Number.POSITIVE_INFINITY,
    failed(error) {
      throw error;
    },
    ...(compactAbove === undefined ? {} : { compactAbove }),
  });
}

function publish(store: Store, ...batch: readonly Outgoing[]): Promise<readonly string[]> {
  return new Promise((resolve) =>
    store.publish(
      batch.map((m) => ({ message: incoming(m), group: m.group, delayMs: m.delayMs })),
      resolve,
    ),
  );
}

function queues(store: Store): Record<string, string[]> {
  return Object.fromEntries(
    PLAN.groups.map((name) => [
      name,
      store.engine
        .group("orders", name)
        .entries()
        .map(({ entry, state }) => `${entry.message.id} ${state}`),
    ]),
  );
}

describe("copies in the broker's log", () => {
  it("a copy for one group is that group's after a restart, a delayed one is still delayed", async () => {
    const clock = virtualClock();
    const before = open(clock);
    await before.declare([PLAN]);
    await publish(before, message("one", { group: "audit" }), message("late", { group: "billing", delayMs: HOUR }));
    await publish(before, message("all", { delayMs: 2 * HOUR }));
    await before.close();
    const after = open(clock);
    expect(queues(after)).toEqual({
      billing: ["late delayed", "all delayed"],
      audit: ["one waiting", "all delayed"],
    });
    await clock.advance(HOUR - 1);
    expect(queues(after).billing).toEqual(["late delayed", "all delayed"]);
    await clock.advance(1);
    expect(queues(after).billing).toEqual(["late waiting", "all delayed"]);
    await after.close();
  });

  it("what came due while the broker was away is handed out at once, what did not waits for the rest of its time", async () => {
    const clock = virtualClock();
    const before = open(clock);
    await before.declare([PLAN]);
    await publish(before, message("first", { group: "billing", delayMs: HOUR }));
    await publish(before, message("second", { group: "billing", delayMs: 3 * HOUR }));
    await before.close();
    await clock.advance(2 * HOUR);
    const after = open(clock);
    expect(queues(after).billing).toEqual(["first waiting", "second delayed"]);
    await clock.advance(HOUR);
    expect(queues(after).billing).toEqual(["first waiting", "second waiting"]);
    await after.close();
  });

  it("two restarts, and the log written anew, lose neither group nor time", async () => {
    const clock = virtualClock();
    const before = open(clock, 1);
    await before.declare([PLAN]);
    await publish(before, message("late", { group: "billing", delayMs: HOUR }));
    for (let i = 0; i < 20; i++) await publish(before, message(`m${i}`, { group: "audit", body: new Uint8Array(500) }));
    await before.close();
    await open(clock).close();
    const after = open(clock);
    expect(queues(after).billing).toEqual(["late delayed"]);
    expect(queues(after).audit).toHaveLength(20);
    await after.close();
  });

  it("a plain message is written as it always was, and such a record still reads", async () => {
    const clock = virtualClock();
    const store = open(clock);
    await store.declare([PLAN]);
    await publish(store, message("plain"));
    await store.close();
    const { state, damaged } = readLog(readFileSync(join(dir, "messages.log")));
    expect(damaged).toEqual([]);
    expect([...state.messages.values()].map((kept) => [kept.message.id, kept.dueAt, kept.groups.size])).toEqual([
      ["plain", 0, 2],
    ]);
    // Kind 2, place, length of the meta data: the layout of logs from before there were copies.
    const record = Buffer.concat(encodeMessage(7, incoming(message("plain"))));
    expect([record[0], record.readDoubleBE(1), record[13]]).toEqual([2, 7, "[".charCodeAt(0)]);
    expect(decodeEntry(record)).toMatchObject({ kind: "message", place: 7, group: 0, dueAt: 0 });
    expect(Buffer.concat(encodeMessage(7, incoming(message("copy")), 1))[0]).toBe(4);
  });
});
