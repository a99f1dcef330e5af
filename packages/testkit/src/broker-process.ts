import { parseArgs } from "node:util";
import { describe } from "@tallymq/core/spi";
import { serve } from "./broker/process/serve.ts";
import { realClock } from "./real.ts";

// A program: node broker-process.ts --at unix:/path --data DIR [--max-backlog N] [--delivery-limit N] [--with-parent]
// Prints one line of JSON on stdout when it listens; what a person should know goes to stderr.

const { values } = parseArgs({
  options: {
    at: { type: "string" },
    data: { type: "string" },
    "max-backlog": { type: "string", default: "Infinity" },
    "delivery-limit": { type: "string", default: "Infinity" },
    /** Ends when stdin does: no broker outlives who started it. */
    "with-parent": { type: "boolean", default: false },
  },
});

function say(what: string): void {
  process.stderr.write(`tally broker: ${what}\n`);
}

function die(what: string, thrown: unknown): never {
  say(`${what}: ${describe(thrown)}`);
  process.exit(1);
}

async function main(): Promise<void> {
  if (values.at === undefined || values.data === undefined) return die("usage", "--at ADDRESS --data DIR");
  const served = await serve({
    at: values.at,
    dataDir: values.data,
    clock: realClock,
    maxBacklog: Number(values["max-backlog"]),
    deliveryLimit: Number(values["delivery-limit"]),
    // Some of what was appended may be there, some not: connections end, copies are in doubt, nobody is told a lie.
    failed: (error) => die("the log cannot be written", error),
  });
  const { report } = served;
  if (report.tornBytes > 0) say(`cut off ${report.tornBytes} bytes of an unfinished record at the end of the log`);
  for (const { from, to } of report.damaged)
    say(`the log is damaged from byte ${from} to ${to}: what stood there is lost`);
  if (report.quarantine !== null) say(`the damaged log is kept as ${report.quarantine}`);
  process.stdout.write(`${JSON.stringify({ listening: values.at, pid: process.pid, ...report })}\n`);

  let closing = false;
  const end = (): void => {
    if (closing) return;
    closing = true;
    served.close().then(
      () => process.exit(0),
      (error: unknown) => die("closing failed", error),
    );
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  if (values["with-parent"]) process.stdin.on("end", end).on("error", end).resume();
}

main().catch((error: unknown) => die("cannot start", error));
