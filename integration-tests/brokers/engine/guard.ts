/** `guard.ts PID`: waits until the pipe from that process closes, then removes what it left. Started by cleanup.ts. */
import { text } from "node:stream/consumers";
import { NOTHING_LEFT } from "./cleanup.ts";

const pid = Number(process.argv[2]);
if ((await text(process.stdin)) !== NOTHING_LEFT) {
  // Imported only now: a guard that waits should cost little.
  const { ownerOf } = await import("./owner.ts");
  const { until } = await import("./wait.ts");
  const { answers } = await import("./probe.ts");
  const { ensureEngine } = await import("./engine.ts");
  const { silent } = await import("./progress.ts");
  await until(`the end of ${pid}`, 10_000, () => ownerOf(pid) === null);
  const host = process.env["DOCKER_HOST"];
  // An engine that has been stopped in the meantime is not started again for this.
  if (host !== undefined && (await answers(host))) await ensureEngine(silent);
}
