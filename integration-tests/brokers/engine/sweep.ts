/** `sweep.ts PID`: waits for that process's end, then removes what it made. Started by cleanup.ts, detached. */
import { ensureEngine } from "./engine.ts";
import { ownerOf } from "./owner.ts";
import { silent } from "./progress.ts";
import { until } from "./wait.ts";

const pid = Number(process.argv[2]);
await until(`the end of ${pid}`, 10_000, () => ownerOf(pid) === null);
await ensureEngine(silent); // removes the leftovers of dead processes
