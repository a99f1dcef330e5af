// A program, run by hand: node measure-process.ts [DIRECTORY]: durable puts, the relay's take and end, and tx handlers, each on a
// fresh store. Rates are a second's; "stall" is the event loop's longest.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { FreshClaim } from "@tallymq/core/spi";
import { openInbox, openOutbox, row } from "./open.ts";
import { withFile } from "./rig-file.ts";

const SECONDS = 3;
const directory = mkdtempSync(join(process.argv[2] ?? tmpdir(), "tally-measure-"));
const PROOF = { routed: "yes", persisted: "yes", replicated: "yes" } as const;
let ids = 0;
/** As core makes them: rising with time. */
const id = (): string => `0198c0de-7a7a-7000-8000-${String(++ids).padStart(12, "0")}`;

async function measure(
  name: string,
  work: (until: () => boolean, done: (n: number) => void) => Promise<unknown>,
): Promise<void> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let [count, warm, from, cpu] = [0, 0, performance.now(), process.cpuUsage()];
  const began = performance.now();
  setTimeout(() => {
    [warm, from, cpu] = [count, performance.now(), process.cpuUsage()];
    delay.enable();
  }, 1_000);
  await work(
    () => performance.now() - began > 1_000 + SECONDS * 1_000,
    (n) => (count += n),
  );
  const used = process.cpuUsage(cpu);
  const rate = (count - warm) / ((performance.now() - from) / 1_000);
  const micros = (used.user + used.system) / Math.max(1, count - warm);
  console.log(
    `${name.padEnd(34)}${Math.round(rate).toLocaleString("en").padStart(10)}/s  cpu ${micros.toFixed(1).padStart(6)} µs  stall ${(delay.max / 1e6).toFixed(1).padStart(6)} ms`,
  );
}

for (const size of [256, 4_096]) {
  for (const callers of [1, 100, 1_000]) {
    await using outbox = await openOutbox(join(directory, `${size}-${callers}.db`), { maxBytes: 8 * 1024 ** 3 });
    const body = new Uint8Array(size).fill(7);
    await measure(`put ${size} B × ${callers}`, async (over, done) => {
      const caller = async (): Promise<void> => {
        while (!over()) {
          const [result] = await outbox.put([row(id(), body)]);
          if (result !== "stored") throw new Error(result);
          done(1);
        }
      };
      await Promise.all(Array.from({ length: callers }, caller));
    });
    if (size !== 256 || callers !== 1_000) continue;
    await using lease = await outbox.lease(["broker"], () => {}, new AbortController().signal);
    await measure("relay: take 500, end", async (over, done) => {
      for (let rows = await lease.take(500); rows.length > 0 && !over(); rows = await lease.take(500)) {
        await lease.end(rows.map(({ place }) => ({ place, proof: PROOF })));
        done(rows.length);
      }
    });
  }
}

await using inbox = await openInbox(join(directory, "inbox.db"));
withFile(join(directory, "inbox.db"), (sql) => sql.exec("CREATE TABLE bills (id TEXT)"));
const claim = async (): Promise<FreshClaim> => {
  const key = { group: "g", topic: "t", producer: "p", id: id(), bodyHash: BigInt(ids), behind: null };
  return (await inbox.claim([key], 60_000))[0] as FreshClaim;
};
for (const lanes of [1, 64]) {
  await measure(`claim, end × ${lanes}`, async (over, done) => {
    const lane = async (): Promise<void> => {
      while (!over()) {
        await inbox.end(await claim(), { is: "done" });
        done(1);
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
  });
  await measure(`claim, tx with one INSERT × ${lanes}`, async (over, done) => {
    const lane = async (): Promise<void> => {
      while (!over()) {
        const fresh = await claim();
        await inbox.transactions?.run(fresh, (tx) => tx.run("INSERT INTO bills VALUES (?)", [fresh.key.id]));
        done(1);
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
  });
}
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
