// What the commands that people type have in common: options, a usage, signals, an exit code.
import { parseArgs } from "node:util";

/** After a signal, for a run to put things away. */
const LEAVE_MS = 20_000;

/** In words for the person who typed it. */
export class UsageError extends Error {}

/**
 * The options of a command, each with a text; null: `--help` was asked for.
 * @throws UsageError
 */
export function optionsOf<Name extends string>(
  argv: readonly string[],
  names: readonly Name[],
): Readonly<Partial<Record<Name, string>>> | null {
  try {
    const texts = Object.fromEntries(names.map((name) => [name, { type: "string" } as const]));
    const { values } = parseArgs({ args: [...argv], options: { ...texts, help: { type: "boolean", short: "h" } } });
    return values["help"] === true ? null : (values as Partial<Record<Name, string>>);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** @throws UsageError */
export function oneOf<T extends string>(name: string, known: readonly T[], given: string): T {
  const found = known.find((one) => one === given);
  if (found === undefined)
    throw new UsageError(`--${name} is one of ${known.join(", ")}; not ${JSON.stringify(given)}`);
  return found;
}

/** @throws UsageError */
export function count(name: string, given: string, least: number, most: number): number {
  const n = Number(given);
  if (!/^\d+$/.test(given) || n < least || n > most)
    throw new UsageError(`--${name} is a whole number from ${least} to ${most}; not ${JSON.stringify(given)}`);
  return n;
}

/**
 * Runs a command and ends the process with its exit code: nothing may be left running that would hold it; if something is,
 * that is not what the code is about. SIGINT and SIGTERM fire the signal that `run` gets, with an Error that says so.
 * Exit code 2: the run could not be made.
 * @param parse gives the settings, or null where the usage was asked for
 */
export async function command<S>(
  usage: string,
  parse: (argv: readonly string[]) => S | null,
  run: (settings: S, signal: AbortSignal) => Promise<number>,
): Promise<never> {
  try {
    const settings = parse(process.argv.slice(2));
    if (settings === null) {
      console.log(usage);
      process.exit(0);
    }
    process.exit(await run(settings, interrupted()));
  } catch (error) {
    if (error instanceof UsageError) console.error(`${error.message}\n\n${usage}`);
    else console.error(error);
    process.exit(2);
  }
}

function interrupted(): AbortSignal {
  const abort = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      abort.abort(new Error(`ended by ${signal}`));
      setTimeout(() => process.exit(2), LEAVE_MS).unref();
    });
  }
  return abort.signal;
}
