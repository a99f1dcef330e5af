import type { WriteStream } from "node:tty";
import type { Progress, Watcher } from "../run.ts";
import { FAULT_WORDS, number } from "./words.ts";

/** Where there is room for it all, and on a narrow terminal. */
const BAR = [24, 12] as const;
const NARROW = 104;
const LINE_EVERY_MS = 3_000;
const PHASE: Readonly<Record<Progress["phase"], string>> = { publishing: "", draining: "draining", judging: "judging" };

/** One line that is drawn again and again on a terminal; a line every few seconds, and one for each fault, elsewhere. */
export class ProgressLine implements Watcher {
  readonly #out: NodeJS.WriteStream;
  #shown = -Infinity;
  #last = "";
  #drawn = false;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  step(line: string): void {
    this.end();
    this.#out.write(`${line}\n`);
  }

  progress(progress: Progress): void {
    const columns = this.#out.isTTY ? (this.#out as WriteStream).columns || 80 : NARROW;
    const text = lineOf(progress, columns < NARROW ? BAR[1] : BAR[0]);
    if (this.#out.isTTY) {
      this.#out.write(`\r\x1b[2K${text.slice(0, columns - 1)}`);
      this.#drawn = true;
      return;
    }
    const state = `${progress.phase} ${progress.fault}`;
    const now = performance.now();
    if (state === this.#last && now - this.#shown < LINE_EVERY_MS) return;
    [this.#last, this.#shown] = [state, now];
    this.#out.write(`${text}\n`);
  }

  /** Leaves the line as it stands. */
  end(): void {
    if (this.#drawn) this.#out.write("\n");
    this.#drawn = false;
  }
}

function lineOf({ messages, accepted, effects, inFlight, fault, phase }: Progress, width: number): string {
  const done = Math.min(1, effects / messages);
  const full = Math.round(done * width);
  const bar = "█".repeat(full) + "░".repeat(width - full);
  const percent = `${Math.floor(done * 100)}%`.padStart(4);
  const now = fault === null ? PHASE[phase] : `✕ ${FAULT_WORDS[fault]}`;
  // What a narrow terminal cuts off is the least of it.
  const parts = [
    `${bar}${percent}`,
    now,
    `accepted ${number(accepted)}`,
    `effects ${number(effects)}`,
    `in flight ${number(inFlight)}`,
  ];
  return parts.filter((part) => part !== "").join(" · ");
}
