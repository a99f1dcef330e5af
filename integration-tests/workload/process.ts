// The inner end of a workload process: its job, the line to the director, and the rule that it never outlives him.
import { setInterval } from "node:timers";
import { crashAt } from "@tallymq/testkit/crash";
import { LedgerWriter } from "@tallymq/testkit/ledger";
import type { FromMember, MemberJob, Status, ToMember } from "./member.ts";

const REPORT_MS = 10;

export interface Member<Job extends MemberJob> {
  readonly job: Job;
  readonly ledger: LedgerWriter;
  /** Resolves with the director's `go`. */
  readonly go: Promise<void>;
  /** Resolves with the director's `stop`. */
  readonly stop: Promise<void>;
  /** Called with the director's `press` (true) and `ease` (false). */
  onPress: (hard: boolean) => void;
  /** Called with the director's `hold` (true) and `release` (false). */
  onHold: (held: boolean) => void;
  /** Called with the director's `rejoin`. */
  onRejoin: () => void;
  ready(): void;
  /** Tells the director at once how things are, where the next regular report would be too late for him. */
  report(): void;
}

/** Runs `work`; its end is the process's end. The director hears `status()` as often as it changes, 100 times a second at most. */
export function runMember<Job extends MemberJob>(
  work: (member: Member<Job>) => Promise<void>,
  status: () => Status,
): void {
  // Whatever happens to the director, he takes this line with him.
  process.on("disconnect", () => process.exit(3));
  process.on("uncaughtException", (error) => fail(error));
  process.on("unhandledRejection", (error) => fail(error));

  const job = JSON.parse(process.argv[2] ?? "null") as Job;
  const ledger = new LedgerWriter({ folder: job.ledger, run: job.run, proc: job.proc, epoch: job.epoch });
  // Its last line: that it died, and where, is what the run is about.
  crashAt({
    at: job.crash ?? "",
    before: ({ point }) => ledger.write({ op: "surfaced", kind: crashLine(point), id: null }),
  });
  const [go, stop] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let last = "";
  const report = (): void => {
    const now = status();
    const text = JSON.stringify(now);
    if (text !== last) tell({ type: "status", status: now });
    last = text;
  };
  setInterval(report, REPORT_MS).unref();

  const member: Member<Job> = {
    job,
    ledger,
    go: go.promise,
    stop: stop.promise,
    onPress: () => {},
    onHold: () => {},
    onRejoin: () => {},
    ready: () => tell({ type: "ready" }),
    report,
  };
  process.on("message", ({ type }: ToMember) => {
    if (type === "go") go.resolve();
    else if (type === "stop") stop.resolve();
    else if (type === "rejoin") member.onRejoin();
    else if (type === "hold" || type === "release") member.onHold(type === "hold");
    else member.onPress(type === "press");
  });
  work(member).then(() => {
    ledger.close();
    tell({ type: "done", status: status() }, () => process.exit(0));
  }, fail);
}

/** The `surfaced` line of a process that kills itself at a failpoint. */
export function crashLine(point: string): string {
  return `killed-at:${point}`;
}

function tell(message: FromMember, told: () => void = () => {}): void {
  if (process.connected) process.send?.(message, undefined, {}, told);
}

/** The ledger file stays without an `end`: that this process failed must be seen by the judge as well. */
function fail(error: unknown): void {
  console.error(error);
  const text = error instanceof Error ? error.message : String(error);
  tell({ type: "failed", error: text }, () => process.exit(1));
}
