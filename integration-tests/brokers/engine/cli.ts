/** `npm run engine -- status | start | stop`: the Docker engine that Tally starts where none answers. */
import { dockerHostOf, runningPid, stopDaemon } from "./daemon.ts";
import { ensureEngine } from "./engine.ts";
import { withLock } from "./lock.ts";
import { places } from "./places.ts";

const command = process.argv[2] ?? "status";
const at = places();
if (command === "start") {
  const { host } = await ensureEngine();
  console.log(`engine answers at ${host}`);
} else if (command === "stop") {
  const stopped = await withLock(
    at.lock,
    () => console.log("waiting for the engine's lock …"),
    () => stopDaemon(at),
  );
  console.log(stopped ? "our own engine stopped" : "our own engine is not running");
} else if (command === "status") {
  const pid = await runningPid(at);
  console.log(pid === null ? "our own engine is not running" : `our own engine runs: pid ${pid}, ${dockerHostOf(at)}`);
} else {
  console.error("usage: engine status | start | stop");
  process.exitCode = 2;
}
