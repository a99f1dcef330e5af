// What a stage of `npm test` is, and the two ways in which one counts what it checked.
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";

export interface Count {
  readonly passed: number;
  /** What failed, by name, and below it why. */
  readonly failed: readonly string[];
}

export interface Stage {
  readonly name: string;
  /** What runs, as it would be typed. */
  readonly shows: string;
  /** Also part of `npm run check`. */
  readonly quick: boolean;
  run(scratch: string): Promise<Count>;
}

const MINUTE = 60_000;
const KILL_AFTER_MS = 20_000;
/** Of a failed test's message: enough to tell what was expected and got, where only the end of the output is kept. */
const WHY_LINES = 8;
const WHY_WIDTH = 200;

/** A tool that is content or not: one check. */
export function tool(name: string, command: readonly string[], options: { quick?: boolean } = {}): Stage {
  return {
    name,
    shows: command.join(" "),
    quick: options.quick ?? false,
    run: async () =>
      (await exitOf(command, 5)) === 0 ? { passed: 1, failed: [] } : { passed: 0, failed: [command.join(" ")] },
  };
}

/** A project of vitest.config.ts: each test is a check. */
export function tests(name: string, options: { quick?: boolean; minutes?: number } = {}): Stage {
  const command = ["vitest", "run", "--project", name];
  return {
    name,
    shows: command.join(" "),
    quick: options.quick ?? false,
    run: async (scratch) => {
      const file = join(scratch, `${name}.json`);
      const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
      const exit = await exitOf([...command, ...reporters], options.minutes ?? 5);
      const count = await readFile(file, "utf8").then(countTests, () => ({ passed: 0, failed: [] }));
      // Not one failed test, and yet no success: no test was found, the report is missing, an error fell outside tests.
      const unexplained = count.failed.length === 0 && (exit !== 0 || count.passed === 0);
      return unexplained ? { ...count, failed: ["an error outside the tests, or no test at all"] } : count;
    },
  };
}

/** The main job: each figure that must hold is a check. @param some Figures that show that the faults bit. */
export function demo(broker: string, minutes: number, some: readonly string[]): Stage {
  const command = ["node", "integration-tests/demo/main.ts", "--broker", broker];
  return {
    name: `demo-${broker}`,
    shows: command.slice(1).join(" "),
    quick: false,
    run: async (scratch) => {
      const file = join(scratch, `demo-${broker}.json`);
      const exit = await exitOf([...command, "--json", file], minutes);
      const figures = await readFile(file, "utf8").then(
        (text) => JSON.parse(text) as Record<string, unknown>,
        () => ({}) as Record<string, unknown>,
      );
      const checks = {
        "exit status 0": exit === 0,
        "accepted 20,000": figures["accepted"] === 20_000,
        "lost 0": figures["lost"] === 0,
        "rejected 0": figures["rejected"] === 0,
        "duplicate effects 0": figures["duplicateEffects"] === 0,
        ...Object.fromEntries(some.map((name) => [`${name} > 0`, Number(figures[name]) > 0])),
      };
      const failed = Object.entries(checks).flatMap(([what, holds]) => (holds ? [] : [`does not hold: ${what}`]));
      return { passed: Object.keys(checks).length - failed.length, failed };
    },
  };
}

/** kill -9 at every failpoint: each of them on each broker is a check. */
export function crash(minutes: number): Stage {
  const command = ["node", "integration-tests/crash/main.ts"];
  return {
    name: "crash",
    shows: command.slice(1).join(" "),
    quick: false,
    run: async (scratch) => {
      const file = join(scratch, "crash.json");
      const exit = await exitOf([...command, "--json", file], minutes);
      const { rows = [] } = await readFile(file, "utf8").then(
        (text) => JSON.parse(text) as { rows?: readonly CrashRow[] },
        () => ({ rows: [] }),
      );
      const bad = rows.filter(({ verdict, runs, hits }) => verdict !== "VALID" || runs === 0 || hits < runs);
      const failed = bad.map(({ point, broker, verdict }) => `${point} on ${broker}: ${verdict}`);
      if (failed.length === 0 && (exit !== 0 || rows.length === 0)) failed.push("the runs could not be made");
      return { passed: rows.length - bad.length, failed };
    },
  };
}

interface CrashRow {
  readonly point: string;
  readonly broker: string;
  readonly runs: number;
  readonly hits: number;
  readonly verdict: string;
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

/** A skipped or open test counts as failed, and so does a file that could not be loaded. */
function countTests(json: string): Count {
  let passed = 0;
  const failed: string[] = [];
  for (const { name, status, assertionResults } of (JSON.parse(json) as Report).testResults) {
    const bad = assertionResults.filter((test) => test.status !== "passed");
    passed += assertionResults.length - bad.length;
    const file = relative(process.cwd(), name);
    failed.push(
      ...bad.map(({ fullName, status: how, failureMessages = [] }) =>
        [`${file}: ${fullName}${how === "failed" ? "" : ` (${how})`}`, ...failureMessages.flatMap(why)].join("\n"),
      ),
    );
    if (bad.length === 0 && status !== "passed") failed.push(`${file} could not be run`);
  }
  return { passed, failed };
}

/** The beginning of a message, indented; of its stack what lies in the project. */
function why(message: string): readonly string[] {
  const lines = message.split("\n").filter((each) => each.trim() !== "" && !/^\s+at .*(node_modules|node:)/.test(each));
  return lines.slice(0, WHY_LINES).map((each) => `      ${each.slice(0, WHY_WIDTH)}`);
}

let running: ReturnType<typeof spawn> | null = null;

/** Hands a signal to what is running now. */
export function interrupt(signal: NodeJS.Signals): void {
  running?.kill(signal);
}

function exitOf([command = "", ...args]: readonly string[], minutes: number): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"] });
    running = child;
    let last: NodeJS.Timeout | undefined;
    const limit = setTimeout(() => {
      console.log(`not done after ${minutes} minutes: ended`);
      child.kill("SIGTERM");
      last = setTimeout(() => child.kill("SIGKILL"), KILL_AFTER_MS);
    }, minutes * MINUTE);
    const end = (status: number): void => {
      clearTimeout(limit);
      clearTimeout(last);
      running = null;
      resolve(status);
    };
    child.on("error", (error) => {
      console.log(`${command} could not be started: ${error.message}`);
      end(127);
    });
    child.on("exit", (code) => end(code ?? 1));
  });
}
