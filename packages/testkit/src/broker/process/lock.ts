import { readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TallyError } from "@tallymq/core/spi";

/**
 * Takes the data directory for this process: two on one log would lose what the other confirmed. The lock of a process
 * that is gone is taken over; since process ids come again, its start time is compared as well, where the system tells.
 * @returns what gives it back
 * @throws TallyError `bad-config` when another process has it
 */
export function lockDirectory(dataDir: string): () => void {
  const file = join(dataDir, "lock");
  const mine = `${process.pid} ${startOf(process.pid) ?? "?"}`;
  for (let tries = 0; ; tries++) {
    try {
      writeFileSync(file, mine, { flag: "wx", mode: 0o600 });
      return () => unlinkSync(file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST" || tries > 2) throw error;
    }
    const [pid, start] = readFileSync(file, "utf8").split(" ");
    if (isAlive(Number(pid), start))
      throw new TallyError("bad-config", `the data directory is in use by process ${Number(pid)}`);
    unlinkSync(file);
  }
}

function isAlive(pid: number, start: string | undefined): boolean {
  if (!(Number.isInteger(pid) && pid > 1)) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const now = startOf(pid);
  return now === null || start === "?" || now === start;
}

/** When a process began, in the system's own unit; null where the system does not tell. */
function startOf(pid: number): string | null {
  try {
    // The name in parentheses may hold spaces: fields are counted from behind it.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
