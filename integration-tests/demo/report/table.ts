import { styleText } from "node:util";
import type { DemoReport } from "../judge.ts";
import type { Recovery } from "./timeline.ts";
import { faultName, figuresOf, inFlight, number, recovered, seconds, slowest } from "./words.ts";

type Style = Parameters<typeof styleText>[0];
const MOST_REASONS = 8;

/** What the terminal shows at the end. */
export function table(report: DemoReport, colours: boolean): string {
  const paint = (style: Style, text: string): string =>
    colours ? styleText(style, text, { validateStream: false }) : text;
  const { figures, timeline, reasons, exitCode } = report;
  const lines: string[] = [];

  const rows = figuresOf(report);
  const width = Math.max(...rows.map(({ name }) => name.length));
  for (const { name, value, good } of rows) {
    const text = `  ${name.padEnd(width)}  ${number(value).padStart(10)}`;
    lines.push(good ? text : paint("red", text));
  }
  lines.push(`  ${"seconds".padEnd(width)}  ${figures.seconds.toFixed(1).padStart(10)}`, "");

  const cells = [
    ["fault", "at", "in flight", "lasted", "accepts again", "effects again"],
    ...timeline.faults.map((fault) => [
      faultName(fault),
      seconds(fault.from),
      `${number(fault.inFlight)} (${inFlight(fault)})`,
      seconds(fault.until - fault.from),
      again(fault.accepts),
      again(fault.effects),
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  cells.forEach((row, at) => {
    const text = `  ${row.map((cell, column) => cell.padEnd(widths[column]!)).join("   ")}`.trimEnd();
    lines.push(at === 0 ? paint("dim", text) : text);
  });
  if (timeline.faults.length === 0) lines.push("  none");
  lines.push("");

  for (const reason of reasons.slice(0, MOST_REASONS)) lines.push(`  ${reason}`);
  if (reasons.length > MOST_REASONS) lines.push(`  and ${reasons.length - MOST_REASONS} more`);
  lines.push(paint(["bold", exitCode === 0 ? "green" : "red"], `VERDICT: ${figures.verdict}`));
  return lines.join("\n");
}

function again(recovery: Recovery): string {
  const last = slowest(recovery);
  return last === "" ? recovered(recovery) : `${recovered(recovery)} (${last})`;
}
