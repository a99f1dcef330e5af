// What a store that is at its bound costs: looked at inside the worker's rooms, since no answer shows it.
import { join } from "node:path";
import { expect, it } from "vitest";
import { batchesOf } from "../src/outbox/puts.ts";
import { Heads } from "../src/record/heads.ts";
import { openStore } from "../src/worker/file/open.ts";
import { Group } from "../src/worker/group.ts";
import { kindOf } from "../src/worker/kinds.ts";
import { outboxRoom } from "../src/worker/outbox/operations.ts";
import { type OpenArgs, PUT, type PutAnswer } from "../src/worker/protocol.ts";
import { row } from "./open.ts";
import { scratch } from "./rig.ts";

const CALLS = 60;

it("at the bound a commit of many calls is begun anew a few times, not for each call", () => {
  const args: OpenArgs = {
    path: join(scratch(), "full.db"),
    kind: "outbox",
    id: "full",
    processes: "one",
    maxBytes: 1024 * 1024,
    maxParked: 10,
    keepFor: 1_000,
    now: { monotonic: 0, wall: 0 },
  };
  const { db, format: _, close } = openStore(args, kindOf(args.kind), () => {});
  try {
    const room = outboxRoom(db, null, true, () => {});
    const codes: number[][] = [];
    let begun = 0;
    const group = new Group(
      db,
      "acked",
      {
        ok: (n, { value }) => void (codes[n] = [...(value as PutAnswer).codes]),
        failed: (_n, error) => expect.fail(String(error)),
      },
      () => {
        begun++;
        room.begun();
      },
    );
    const heads = new Heads();
    const body = new Uint8Array(20_000).fill(7);
    for (let n = 0; n < 2 * CALLS; n++) {
      // The second half would each have to be tried, and each would undo what all before it have stored.
      const rows = [row(`${n}`.padStart(4, "0"), n < CALLS ? body : body.subarray(0, 16_000))];
      for (const { bytes, used, rows: count } of batchesOf(rows, heads))
        group.add({ n, run: room.put({ bytes: bytes.buffer, used, common: 0, rows: count, wall: 1, waiting: 0 }) });
    }
    group.commit();
    const flat = codes.flat();
    expect(flat).toHaveLength(2 * CALLS);
    const stored = flat.indexOf(PUT.full);
    expect(stored).toBeGreaterThan(10);
    expect(flat.slice(0, stored).every((each) => each === PUT.stored)).toBe(true);
    expect(flat.slice(stored).every((each) => each === PUT.full)).toBe(true);
    expect(begun).toBeLessThan(5);
  } finally {
    close();
  }
});
