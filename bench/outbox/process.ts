// A process of its own for each figure: makes its folder, runs one task, prints what it measured as one line of JSON.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { memory } from "./memory.ts";
import { outage } from "./outage.ts";
import { puts } from "./puts.ts";
import { relay } from "./relay.ts";
import type { OutboxMeasure, OutboxTask, Subject } from "./task.ts";
import { tx } from "./tx.ts";

const SUBJECTS: Readonly<Record<Subject, (task: OutboxTask) => Promise<OutboxMeasure>>> = {
  puts,
  relay,
  tx,
  outage,
  memory,
};

const task = JSON.parse(process.argv[2] ?? "") as OutboxTask;
const folder = mkdtempSync(join(task.folder, "tally-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const measure = await SUBJECTS[task.subject]({ ...task, folder });
console.log(JSON.stringify(measure));
process.exit();
