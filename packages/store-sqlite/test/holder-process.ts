// A program: node holder-process.ts PATH: takes the right to relay, says so, and keeps it until it is killed.
import { writeSync } from "node:fs";
import { openOutbox } from "./open.ts";

const outbox = await openOutbox(process.argv[2] ?? "");
await outbox.lease(["broker"], () => {}, new AbortController().signal);
writeSync(1, "holds\n");
setInterval(() => {}, 1_000);
