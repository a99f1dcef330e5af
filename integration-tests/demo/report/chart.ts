import { escape, tag } from "./markup.ts";
import type { Timeline, TimelineFault } from "./timeline.ts";
import { faultName, number, recovered, seconds } from "./words.ts";

const WIDTH = 1000;
const HEIGHT = 100;
const GRID = 4;
/** Width of a letter in a label, in percent of the drawing where labels are shown at their narrowest. */
const LETTER = 1;

/** A line or area over time, one value an interval. */
interface Series {
  readonly name: string;
  readonly css: string;
  readonly kind: "area" | "line";
  readonly values: readonly number[];
}

/**
 * The timeline as inline SVG. The drawing is stretched to whatever width there is (strokes keep theirs), and every word
 * is HTML beside it, so that text has its own size on a telephone as on a wide screen.
 */
export function chart(timeline: Timeline): string {
  const { rows, step } = timeline;
  const span = Math.max(timeline.seconds, step);
  const perSecond = (field: "accepted" | "effects"): number[] => smooth(rows.map((row) => row[field] / step));
  const flight: Series[] = [
    {
      name: "in flight, from publish() to its effect",
      css: "flight",
      kind: "area",
      values: rows.map(({ inFlight }) => inFlight),
    },
    {
      name: "of these without an answer",
      css: "publishing",
      kind: "area",
      values: rows.map(({ publishing }) => publishing),
    },
  ];
  const rates: Series[] = [
    { name: "effects a second", css: "effects", kind: "area", values: perSecond("effects") },
    { name: "accepted a second", css: "accepted", kind: "line", values: perSecond("accepted") },
  ];
  return tag("figure", { class: "chart" }, [
    labels(timeline.faults, span),
    panel("Messages in flight", flight, rows, timeline.faults, span),
    panel("Messages a second", rates, rows, timeline.faults, span),
    axis(span),
  ]);
}

function panel(
  title: string,
  series: readonly Series[],
  rows: Timeline["rows"],
  faults: readonly TimelineFault[],
  span: number,
): string {
  const top = ceiling(Math.max(1, ...series.flatMap(({ values }) => values)));
  const x = (at: number): number => round((at / span) * WIDTH);
  const y = (value: number): number => round(HEIGHT - (value / top) * HEIGHT);
  const paths = series.map(({ css, kind, values }) => {
    const points = values.map((value, at) => `${x(rows[at]!.at)} ${y(value)}`);
    const line = `M0 ${y(values[0] ?? 0)}L${points.join("L")}`;
    const fill =
      kind === "area"
        ? `<path class="fill ${css}" d="${line}L${x(rows.at(-1)?.at ?? 0)} ${HEIGHT}L0 ${HEIGHT}Z"/>`
        : "";
    return `${fill}<path class="line ${css}" d="${line}"/>`;
  });
  const lines = Array.from(
    { length: GRID - 1 },
    (_, n) => `<path class="grid" d="M0 ${((n + 1) * HEIGHT) / GRID}H${WIDTH}"/>`,
  );
  const svg =
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${escape(title)} over time">` +
    `${bands(faults, x)}${lines.join("")}${paths.join("")}${marks(faults, x)}</svg>`;
  const scale = [top, top / 2, 0].map((value) =>
    tag("span", { style: `top:${round(100 - (value / top) * 100)}%` }, [escape(number(value))]),
  );
  const key = series.map(({ name, css }) => tag("li", { class: css }, [escape(name)]));
  return (
    tag("div", { class: "caption" }, [tag("h3", {}, [escape(title)]), tag("ul", { class: "key" }, key)]) +
    tag("div", { class: "panel" }, [tag("div", { class: "scale" }, scale), svg])
  );
}

/** While a fault lasts, and after it until effects come again. */
function bands(faults: readonly TimelineFault[], x: (at: number) => number): string {
  return faults
    .map((fault, n) => {
      const again = fault.until + (fault.effects.after ?? 0);
      const title = `<title>${escape(`${n + 1}: ${faultName(fault)}, ${seconds(fault.until - fault.from)}; effects again ${recovered(fault.effects)}`)}</title>`;
      const [from, until, over] = [x(fault.from), x(fault.until), x(again)];
      return (
        `<rect class="band" x="${from}" y="0" width="${Math.max(1, round(until - from))}" height="${HEIGHT}">${title}</rect>` +
        `<rect class="band after" x="${until}" y="0" width="${Math.max(0, round(over - until))}" height="${HEIGHT}">${title}</rect>`
      );
    })
    .join("");
}

function marks(faults: readonly TimelineFault[], x: (at: number) => number): string {
  return faults.map(({ from }) => `<path class="mark" d="M${x(from)} 0V${HEIGHT}"/>`).join("");
}

function labels(faults: readonly TimelineFault[], span: number): string {
  // Where each row's last label ends, in percent. One that would run into it goes to the next row.
  const ends: number[] = [];
  const all = faults.map((fault, n) => {
    const at = (fault.from / span) * 100;
    const wide = (faultName(fault).length + 6) * LETTER;
    // Near the right edge a label reads towards the left.
    const side = at + wide > 100 ? "label left" : "label";
    const [from, until] = side === "label" ? [at - LETTER, at + wide] : [at - wide, at + LETTER];
    const found = ends.findIndex((end) => end < from);
    const row = found < 0 ? ends.length : found;
    ends[row] = until;
    const style = `left:${round(at)}%;--row:${row}`;
    return tag("span", { class: side, style }, [
      tag("b", {}, [String(n + 1)]),
      tag("i", {}, [escape(faultName(fault))]),
    ]);
  });
  return tag("div", { class: "labels", style: `--rows:${ends.length}` }, all);
}

function axis(span: number): string {
  const every = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600].find((step) => span / step <= 8) ?? Math.ceil(span / 8);
  const ticks: string[] = [];
  for (let at = 0; at <= span; at += every)
    ticks.push(tag("span", { style: `left:${round((at / span) * 100)}%` }, [`${at} s`]));
  return tag("div", { class: "axis" }, ticks);
}

/** Over three intervals: a tenth of a second holds too few messages for a rate. */
function smooth(values: readonly number[]): number[] {
  return values.map((value, at) => {
    const near = [values[at - 1], value, values[at + 1]].filter((one) => one !== undefined);
    return near.reduce((sum, one) => sum + one, 0) / near.length;
  });
}

/** The next number above that reads well on a scale and can be halved. */
function ceiling(most: number): number {
  const unit = 10 ** Math.floor(Math.log10(most));
  const step = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8].find((one) => one * unit >= most) ?? 10;
  return Math.max(2, step * unit);
}

function round(n: number): number {
  return Math.round(n * 100) / 100;
}
