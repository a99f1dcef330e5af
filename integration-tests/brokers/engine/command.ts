import { spawn } from "node:child_process";

export interface CommandResult {
  readonly code: number;
  /** stdout and stderr, in the order in which they came. */
  readonly output: string;
}

/** Runs a program to its end without a shell. Never throws for an exit code; throws when the program is missing. */
export function run(program: string, args: readonly string[], env?: NodeJS.ProcessEnv): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    const parts: string[] = [];
    child.stdout.setEncoding("utf8").on("data", (part: string) => parts.push(part));
    child.stderr.setEncoding("utf8").on("data", (part: string) => parts.push(part));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, output: parts.join("") }));
  });
}

/** Like `run`, but an exit code other than 0 is an error that carries the last lines. */
export async function must(program: string, args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
  const { code, output } = await run(program, args, env);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}:\n${tail(output, 12)}`);
  return output;
}

export function tail(text: string, lines: number): string {
  return text.trimEnd().split("\n").slice(-lines).join("\n");
}
