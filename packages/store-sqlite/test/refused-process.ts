// A program: node refused-process.ts PATH: opens an outbox, with nothing else that keeps the process alive; says how that ended.
import { writeSync } from "node:fs";
import { openOutbox } from "./open.ts";

try {
  await openOutbox(process.argv[2] ?? "");
  writeSync(1, "opened\n");
} catch (error) {
  writeSync(1, `${(error as Error).message}\n`);
}
