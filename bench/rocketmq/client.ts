// A client's process: runs one task, prints its figures as one line of JSON.
import { runTask } from "../clients/task.ts";
import type { RocketTask } from "./task.ts";

/** Loaded by name: a process holds the one client that it is about. */
await runTask<RocketTask>(async (task) =>
  task.client === "tally"
    ? (await import("./clients/tally.ts")).tally(task)
    : (await import("./clients/raw.ts")).raw(task),
);
