// One thing: handlers and the transactions that they share, on the file of a user.
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout } from "node:timers/promises";
import type { FreshClaim, InboxStore } from "@tallymq/core/spi";
import { FENCE_SLOTS } from "@tallymq/core/spi";
import type { SqliteTx } from "@tallymq/store-sqlite";
import { virtualClock } from "@tallymq/testkit";
import { expect, it, vi } from "vitest";
import { FENCE_SLOTS as SLOTS_OF_THE_WORKER } from "../src/record/slots.ts";
import { code, openInbox, recordingHost, row } from "./open.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
let places = 0;

async function inboxWithTable(
  options = {},
  host = recordingHost(),
): Promise<{ readonly inbox: InboxStore<SqliteTx>; readonly path: string }> {
  const path = join(directory, `${++places}.db`);
  withFile(path, (sql) => sql.exec("CREATE TABLE effects (line TEXT UNIQUE, n INTEGER)"));
  chmodSync(path, 0o600);
  return { inbox: await openInbox(path, options, host), path };
}

async function claims(inbox: InboxStore<SqliteTx>, count: number, stem = ""): Promise<readonly FreshClaim[]> {
  const keys = Array.from({ length: count }, (_, n) => ({
    group: "g",
    topic: "t",
    producer: "p",
    id: `${stem}${n}`,
    bodyHash: 1n,
    behind: null,
  }));
  return (await inbox.claim(keys, 60_000)) as readonly FreshClaim[];
}

/** Handlers of this kind have asked once each so far: from now on they go in waves. */
async function inWaves(inbox: InboxStore<SqliteTx>): Promise<void> {
  for (const claim of await claims(inbox, 20, "before-"))
    await inbox.transactions!.run(claim, (tx) => tx.get("SELECT 1 AS one"));
}

function lines(path: string): readonly unknown[] {
  return withFile(path, (sql) =>
    sql
      .prepare("SELECT line FROM effects ORDER BY rowid")
      .all()
      .map((each) => each["line"]),
  );
}

it("tx reads its own writes: query, get, run, by position and by name", async () => {
  const { inbox } = await inboxWithTable();
  await using _ = inbox;
  const [claim] = await claims(inbox, 1);
  await inbox.transactions?.run(claim!, async (tx) => {
    expect((await tx.run("INSERT INTO effects VALUES (?, ?)", ["a", 1])).changes).toBe(1);
    expect((await tx.run("INSERT INTO effects VALUES ($line, $n) -- two", { line: "b", n: 2 })).lastInsertRowid).toBe(
      2,
    );
    expect(await tx.query("SELECT line, n FROM effects ORDER BY n")).toEqual([
      { line: "a", n: 1 },
      { line: "b", n: 2 },
    ]);
    expect(await tx.get("SELECT n FROM effects WHERE line = ?", ["b"])).toEqual({ n: 2 });
    expect(await tx.get("SELECT n FROM effects WHERE line = ?", ["z"])).toBeUndefined();
  });
});

it("a parameter that cannot go to the store's thread fails its own statement: what was asked with it is answered", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  const [claim, other] = await claims(inbox, 2);
  const put = inbox.transactions!.outbox.put([row("m1")]);
  const gone = new Uint8Array(8);
  structuredClone(gone, { transfer: [gone.buffer] });
  await inbox.transactions!.run(claim!, async (tx) => {
    const asked = [
      tx.run("INSERT INTO effects VALUES ('before', 1)"),
      tx.run("INSERT INTO effects VALUES (?, 2)", [gone]),
      tx.run("INSERT INTO effects VALUES ('after', 3)"),
    ];
    const ended = inbox.end(other!, { is: "done" });
    expect((await Promise.allSettled(asked)).map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
    ]);
    await expect(asked[1]).rejects.toSatisfy(code("bad-config", /could not be cloned/));
    void ended;
  });
  expect(lines(path)).toEqual(["before", "after"]);
  expect(await put).toEqual(["stored"]);
  expect((await inbox.claim([{ ...other!.key, behind: null }], 1_000))[0]?.state).toBe("done");
});

it("a statement that fails is undone alone, and may be caught", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  const [claim] = await claims(inbox, 1);
  await inbox.transactions?.run(claim!, async (tx) => {
    await tx.run("INSERT INTO effects VALUES ('a', 1)");
    const again = await tx
      .run("INSERT INTO effects VALUES ('b', 2), ('a', 3)")
      .catch((error: unknown) => error as { cause: { errcode: number } });
    expect((again as { cause: { errcode: number } }).cause.errcode & 0xff).toBe(19);
    await tx.run("INSERT INTO effects VALUES ('c', 4)");
  });
  expect(lines(path)).toEqual(["a", "c"]);
});

it("a statement or a parameter that is none is refused before it is sent, and does not take others' statements with it", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  const [claim] = await claims(inbox, 1);
  await inbox.transactions?.run(claim!, async (tx) => {
    const insert = "INSERT INTO effects VALUES (?, ?)";
    const secret = "canary-4711";
    const wrong: readonly (readonly [unknown, unknown, RegExp])[] = [
      [insert, ["a", () => secret], /parameter 2 must be null, a number, .*; got function$/],
      [insert, [Symbol(secret), 1], /parameter 1 must be .*; got symbol$/],
      [insert, ["a", { secret }], /parameter 2 must be .*; got object$/],
      [insert, ["a", true], /parameter 2 must be .*; got boolean$/],
      [insert, ["a", undefined], /parameter 2 must be .*; got undefined$/],
      [
        "INSERT INTO effects VALUES ($line, $n)",
        { line: "a", n: () => secret },
        /parameter "n" must be .*; got function$/,
      ],
      [insert, secret, /parameters must be a list or an object by name; got string$/],
      [insert, new Map([["line", "a"]]), /parameters must be a list or an object by name; got object$/],
      [undefined, [], /a statement must be a text; got undefined$/],
      [() => insert, [], /a statement must be a text; got function$/],
    ];
    // In one tick with one that is right.
    const right = tx.run(insert, ["b", 1]);
    const refused = wrong.map(([sql, params]) =>
      tx.run(sql as string, params as never).catch((error: unknown) => error),
    );
    expect(await right).toMatchObject({ changes: 1 });
    for (const [n, error] of (await Promise.all(refused)).entries()) {
      expect(error).toSatisfy(code("handler", wrong[n]![2]));
      expect((error as Error).message).not.toContain(secret);
    }
  });
  expect(lines(path)).toEqual(["b"]);
});

it("statements that would leave the shared transaction are refused, and so is a second statement in one text", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  const [claim] = await claims(inbox, 1);
  await inbox.transactions?.run(claim!, async (tx) => {
    for (const sql of [
      "COMMIT",
      " /* x */ rollback",
      "-- c\nBEGIN",
      "SAVEPOINT x",
      "release tally_turn",
      "ATTACH 'x' AS y",
      "PRAGMA synchronous=0",
      ";END",
      "VACUUM",
    ]) {
      await expect(tx.run(sql)).rejects.toSatisfy(code("bad-config", /cannot be used/));
    }
    await expect(tx.run("INSERT INTO effects VALUES ('x', 1); INSERT INTO effects VALUES ('y', 1)")).rejects.toSatisfy(
      code("bad-config", /one statement/),
    );
    await tx.run("INSERT INTO effects VALUES ('one', 1); -- and no more");
  });
  expect(lines(path)).toEqual(["one"]);
});

it("a statement that rolls everything back takes all who share the transaction with it, and each is told", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  const given = await claims(inbox, 4);
  const runs = given.map((claim, n) =>
    inbox.transactions!.run(claim, async (tx) => {
      await tx.run("INSERT INTO effects VALUES (?, 1)", [n === 2 ? "0" : `${n}`]).catch(() => {});
      if (n === 2) await tx.run("INSERT OR ROLLBACK INTO effects VALUES ('0', 1)").catch(() => {});
    }),
  );
  const settled = await Promise.allSettled(runs);
  const done = settled.flatMap((each, n) => (each.status === "fulfilled" ? [`${n}`] : []));
  // Whoever was told "done" is there, and nobody else.
  expect(lines(path)).toEqual(done);
  expect(settled[2]?.status).toBe("rejected");
  const states = (
    await inbox.claim(
      given.map((claim) => ({ ...claim.key, behind: null })),
      1_000,
    )
  ).map((claim) => claim.state);
  expect(states).toEqual(given.map((_each, n) => (done.includes(`${n}`) ? "done" : "busy")));
});

it("rule 20: no effect without its mark: while another process keeps the file, handlers of one wave write nothing", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  await inWaves(inbox);
  const [first, second] = await claims(inbox, 2);
  using other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  // Longer than a transaction waits for the file, and shorter than a statement by itself would wait after that.
  const released = setTimeout(7_000).then(() => other.exec("COMMIT"));
  const settled = await Promise.allSettled(
    [first!, second!].map((claim, n) =>
      inbox.transactions!.run(claim, (tx) => tx.run("INSERT INTO effects VALUES (?, 1)", [`${n}`])),
    ),
  );
  await released;
  expect(settled.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(lines(path)).toEqual([]);
});

it("rule 20: no effect without its mark: what a handler ended for all is not written again for those who are still at it", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  withFile(path, (sql) => sql.exec("INSERT INTO effects VALUES ('there', 1)"));
  await inWaves(inbox);
  const [patient, ender] = await claims(inbox, 2);
  const gone = Promise.withResolvers<void>();
  const settled = await Promise.allSettled([
    inbox.transactions!.run(patient!, async (tx) => {
      await tx.run("INSERT INTO effects VALUES ('patient', 1)");
      await gone.promise;
    }),
    inbox
      .transactions!.run(ender!, (tx) => tx.run("INSERT OR ROLLBACK INTO effects VALUES ('there', 1)"))
      .finally(() => gone.resolve()),
  ]);
  expect(settled.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(lines(path)).toEqual(["there"]);
});

it("rule 20: a handler that does nothing with its tx: surfaced, then rolled back, and the others go on", async () => {
  const host = recordingHost();
  const { inbox, path } = await inboxWithTable({ txTimeout: 200 }, host);
  await using _ = inbox;
  const [stuck, next, slow] = await claims(inbox, 3);
  let kept: SqliteTx | null = null;
  const began = performance.now();
  const never = inbox.transactions!.run(stuck!, async (tx) => {
    kept = tx;
    await tx.run("INSERT INTO effects VALUES ('stuck', 1)");
    await new Promise(() => {});
  });
  const failing = never.catch((error: unknown) => error);
  await inbox.transactions!.run(next!, (tx) => tx.run("INSERT INTO effects VALUES ('next', 1)"));
  expect(code("handler-deadline")(await failing)).toBe(true);
  expect(performance.now() - began).toBeGreaterThanOrEqual(200);
  expect(host.heard).toEqual([expect.stringMatching(/waited 50 ms for something other than its tx/)]);
  await expect(kept!.run("INSERT INTO effects VALUES ('late', 1)")).rejects.toSatisfy(code("store", /over/));
  // Under the limit: surfaced only.
  await inbox.transactions!.run(slow!, async (tx) => {
    await setTimeout(100);
    await tx.run("INSERT INTO effects VALUES ('slow', 1)");
  });
  expect(host.heard.length).toBe(2);
  expect(lines(path)).toEqual(["next", "slow"]);
  expect(await inbox.end(stuck!, { is: "failed" })).toBe(true);
});

it("a handler that never settles keeps nothing alive beyond the store's close, and who waits behind it does not begin", async () => {
  const clock = virtualClock();
  const host = { ...recordingHost(), clock };
  const { inbox, path } = await inboxWithTable({ txTimeout: "60s" }, host);
  const [one, two] = await claims(inbox, 2);
  const begun = Promise.withResolvers<void>();
  const hangs = inbox.transactions!.run(one!, async (tx) => {
    await tx.run("INSERT INTO effects VALUES ('a', 1)");
    begun.resolve();
    await new Promise(() => {});
  });
  let began = false;
  const waits = inbox.transactions!.run(two!, async () => void (began = true));
  const ended = Promise.allSettled([hangs, waits]);
  await begun.promise;
  await inbox[Symbol.asyncDispose]();
  expect(clock.pending()).toBe(0); // else it would be looked after until its txTimeout
  for (const outcome of await ended) expect(outcome).toMatchObject({ status: "rejected", reason: { code: "closed" } });
  expect(began).toBe(false);
  expect(lines(path)).toEqual([]);
});

it("a handler that throws before its first await is one that fails", async () => {
  const { inbox } = await inboxWithTable();
  await using _ = inbox;
  const [claim] = await claims(inbox, 1);
  const thrown = inbox.transactions!.run(claim!, () => {
    throw new RangeError("at once");
  });
  await expect(thrown).rejects.toThrow("at once");
});

it("rule 20: handlers share commits: a hundred in far fewer than a hundred", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  const given = await claims(inbox, 300);
  const resolved: number[] = [];
  let batch = 0;
  let scheduled = false;
  await Promise.all(
    given.map((claim, n) =>
      inbox
        .transactions!.run(claim, (tx) => tx.run("INSERT INTO effects VALUES (?, 1)", [`${n}`]))
        .then(() => {
          // Those of one commit are told in one turn of the event loop.
          if (!scheduled) {
            scheduled = true;
            batch++;
            setImmediate(() => (scheduled = false));
          }
          resolved.push(batch);
        }),
    ),
  );
  expect(lines(path).length).toBe(300);
  expect(new Set(resolved).size).toBeLessThan(100);
});

it("handlers that go in waves come out as if one came after the other, also where one asks again or fails", async () => {
  const { inbox, path } = await inboxWithTable();
  await using _ = inbox;
  withFile(path, (sql) => sql.exec("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)"));
  const { run } = inbox.transactions!;
  const transact = run.bind(inbox.transactions);
  let begun = 0;
  const once = async (tx: SqliteTx): Promise<number> => {
    begun++;
    return Number((await tx.get("UPDATE counter SET n = n + 1 RETURNING n"))?.["n"]);
  };
  // What it read must still be so when it writes.
  const twice = async (tx: SqliteTx): Promise<number> => {
    begun++;
    const n = Number((await tx.get("SELECT n FROM counter"))?.["n"]) + 1;
    await tx.run("UPDATE counter SET n = ?", [n]);
    return n;
  };
  const failing = async (tx: SqliteTx): Promise<number> => {
    await once(tx);
    throw new Error("no");
  };
  const effects = Array.from({ length: 600 }, (_each, n) => {
    if (n < 50 || n % 37 !== 0) return once;
    return n % 2 === 0 ? twice : failing;
  });
  const given = await claims(inbox, effects.length);
  const settled = await Promise.allSettled(given.map((claim, n) => transact(claim, effects[n]!)));
  const counted = settled.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  const failures = effects.filter((effect) => effect === failing).length;
  expect(counted.length).toBe(effects.length - failures);
  expect(counted.toSorted((a, b) => a - b)).toEqual(counted.map((_each, n) => n + 1));
  expect(withFile(path, (sql) => sql.prepare("SELECT n FROM counter").get()?.["n"])).toBe(counted.length);
  // Otherwise none of this was put to the test.
  expect(begun).toBeGreaterThan(effects.length);
});

it("handlers that ask once go in waves: far fewer round trips than handlers", async () => {
  const { inbox } = await inboxWithTable();
  await using _ = inbox;
  const at: number[] = [];
  let open = 0;
  const given = await claims(inbox, 200);
  await Promise.all(
    given.map((claim) =>
      inbox.transactions!.run(claim, async (tx) => {
        at.push(++open);
        await tx.run("INSERT INTO effects VALUES (?, 1)", [claim.key.id]);
        open--;
      }),
    ),
  );
  expect(at.slice(0, 16)).toEqual(Array.from({ length: 16 }, () => 1));
  expect(Math.max(...at)).toBeGreaterThan(50);
});

it("an outbox in the user's file has its bound by its rows' sum, and is not the store's own file", async () => {
  const { inbox } = await inboxWithTable({ maxBytes: 1024 * 1024 });
  await using _ = inbox;
  const { outbox } = inbox.transactions!;
  const results = await outbox.put(Array.from({ length: 30 }, (_each, n) => row(`${n}`, new Uint8Array(50_000))));
  expect([...new Set(results)]).toEqual(["stored", "full"]);
  expect(results.filter((each) => each === "stored").length).toBe(20);
  await outbox[Symbol.asyncDispose]();
  expect((await claims(inbox, 1)).length).toBe(1);
});

it("the bound of parked messages holds", async () => {
  const { inbox } = await inboxWithTable({ maxParked: 3 });
  await using _ = inbox;
  const [head] = await claims(inbox, 1);
  const park = (id: string) =>
    inbox.park({ group: "g", topic: "t", key: "k", message: row(id).message, reason: "r" }, id === "1" ? head! : null);
  const results = [];
  for (const id of ["1", "2", "3", "4", "2"]) results.push(await park(id));
  expect(results).toEqual(["parked", "parked", "parked", "full", "parked"]);
  // What counts is how many there are, not how far their places go.
  const [, second] = await inbox.parkedMessages("g", "t", "k", 3);
  expect(await inbox.unpark(second!.place)).toBe(true);
  expect([await park("4"), await park("5")]).toEqual(["parked", "full"]);
});

it("the worker's number of slots is core's", () => {
  expect(SLOTS_OF_THE_WORKER).toBe(FENCE_SLOTS);
});
