import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** A program beside the tests, and the lines that it wrote. */
export class Child {
  readonly lines: string[] = [];
  readonly process: ChildProcess;
  #rest = "";
  #waiting: () => void = () => {};

  constructor(program: string, ...args: readonly string[]) {
    this.process = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, program), ...args],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    this.process.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (this.#rest + text).split("\n");
      this.#rest = lines.pop() ?? "";
      this.lines.push(...lines);
      this.#waiting();
    });
  }

  /** Resolves at this many lines; rejects after 20 s, or when it ended before. */
  has(count: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        this.#waiting = () => {};
        settle();
      };
      const timer = setTimeout(() => end(() => reject(new Error(`${this.lines.length} lines of ${count}`))), 20_000);
      this.#waiting = () => (this.lines.length >= count ? end(resolve) : undefined);
      this.process.once("exit", (status) =>
        end(() => reject(new Error(`it ended with ${status} after ${this.lines.length} lines`))),
      );
      this.#waiting();
    });
  }

  /** kill -9, and all that it wrote before. */
  async kill(): Promise<void> {
    const closed = once(this.process, "close");
    this.process.kill("SIGKILL");
    await closed;
  }
}
