// A program: node holder-process.ts PATH: takes the right to relay, and all rows; says so, and keeps them until it is killed.
import { writeSync } from "node:fs";
import { openOutbox } from "./open.ts";

const outbox = await openOutbox(process.argv[2] ?? "");
const lease = await outbox.lease(["broker"], () => {}, new AbortController().signal);
await lease.take(100);
writeSync(1, "holds\n");
setInterval(() => {}, 1_000);
