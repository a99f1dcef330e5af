import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

type Undo = () => Promise<void>;

const open = new Set<Undo>();
let armed = false;

/**
 * Remembers what must be undone if this process ends before `done` is called: on SIGINT, SIGTERM and SIGHUP it is
 * undone and the signal raised again; on any other exit a detached helper removes by label what is left. After SIGKILL
 * the next start does (owner.ts).
 */
export function undoAtExit(undo: Undo): { done(): void } {
  open.add(undo);
  if (!armed) arm();
  return { done: () => void open.delete(undo) };
}

function arm(): void {
  armed = true;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      void Promise.allSettled([...open].map((undo) => undo())).then(() => {
        // A program with its own listener decides about its own end; ours must not take that away.
        if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
      });
    });
  }
  // Nothing can be awaited here, but a child that was spawned lives on.
  process.on("exit", () => {
    if (open.size === 0) return;
    const helper = fileURLToPath(import.meta.resolve("./sweep.ts"));
    spawn(process.execPath, [helper, String(process.pid)], { detached: true, stdio: "ignore" }).unref();
  });
}
