// A program: node writer-process.ts PATH PREFIX [one|many [CALLERS]]: stores rows PREFIX-000000, PREFIX-000001 … ten callers at a time, and
// writes each id to stdout after its fsync. Ends when it is killed.
import { writeSync } from "node:fs";
import { openOutbox, row } from "./open.ts";

const [path = "", prefix = "", processes, callers = "10"] = process.argv.slice(2);
const outbox = await openOutbox(path, processes === "one" ? { processes } : {});
say("open");
let next = 0;
const caller = async (): Promise<void> => {
  for (;;) {
    const id = `${prefix}-${String(next++).padStart(6, "0")}`;
    const [result] = await outbox.put([row(id)]);
    if (result !== "stored") throw new Error(`${id}: ${result}`);
    say(id);
  }
};
await Promise.all(Array.from({ length: Number(callers) }, caller));

/** The parent may be slower than we are, and a pipe is small. */
function say(line: string): void {
  for (;;) {
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if ((error as { code?: unknown }).code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
