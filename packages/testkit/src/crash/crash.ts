import { env, kill, pid } from "node:process";
import { armFailpoints, type Failpoint, FAILPOINTS } from "@tallymq/core/spi";

export { type Failpoint, FAILPOINTS } from "@tallymq/core/spi";

/** Where a process kills itself: at the n-th time that it passes the point, counted from 1. */
export interface Crash {
  readonly point: Failpoint;
  readonly n: number;
}

/** Reads `point:n`. @throws RangeError */
export function parseCrash(text: string): Crash {
  const [, point = "", count = ""] = /^([^:]*):(\d{1,9})$/.exec(text) ?? [];
  if (!Object.hasOwn(FAILPOINTS, point))
    throw new RangeError(
      `${JSON.stringify(text)} is not point:n; the points are ${Object.keys(FAILPOINTS).toSorted().join(", ")}`,
    );
  if (Number(count) < 1) throw new RangeError(`${JSON.stringify(text)}: passes are counted from 1`);
  return { point: point as Failpoint, n: Number(count) };
}

/**
 * Arms the process to kill itself with SIGKILL at a failpoint, so that nothing is flushed, closed or said good-bye to.
 * Gives null, and arms nothing, where the environment names none.
 *
 * @param options.at `point:n`. @default the environment's CRASH_AT
 * @param options.before The last words: called right before the kill. What it writes must be written synchronously.
 * @throws RangeError for a point that is not on the list
 */
export function crashAt(
  options: { readonly at?: string | undefined; readonly before?: (crash: Crash) => void } = {},
): Crash | null {
  const text = options.at ?? env["CRASH_AT"] ?? "";
  if (text === "") return null;
  const crash = parseCrash(text);
  let passes = 0;
  armFailpoints((point) => {
    if (point !== crash.point || ++passes !== crash.n) return;
    options.before?.(crash);
    // To itself a process's SIGKILL is delivered before the call returns.
    kill(pid, "SIGKILL");
  });
  return crash;
}
