/** The page's own look: nothing is loaded, both colour schemes, one column where it is narrow. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --card: #ffffff; --ink: #1b1d22; --soft: #5c6370; --rule: #e3e4e8;
  --good: #12734a; --good-wash: #e4f4ec; --bad: #b3261e; --bad-wash: #fbe9e7; --open: #8a5a00; --open-wash: #fdf1d8;
  --flight: #8f86d8; --publishing: #5146b8; --accepted: #1f5fd0; --effects: #2ba37a; --fault: #d6452f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #131519; --card: #1b1e24; --ink: #e8e9ec; --soft: #9aa1ad; --rule: #2e323b;
    --good: #58cf98; --good-wash: #15301f; --bad: #ff8a7a; --bad-wash: #3a1a17; --open: #f0bf5c; --open-wash: #33270f;
    --flight: #7d74d6; --publishing: #b0a8ff; --accepted: #7fb0ff; --effects: #3fbd90; --fault: #ff7461;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1, h2, h3, p, ul, dl, dd, figure { margin: 0; padding: 0; }
ul { list-style: none; }
h2 { font-size: 1.15rem; font-weight: 650; margin: 2.75rem 0 .9rem; }
h3 { font-size: .85rem; font-weight: 600; }
.soft { color: var(--soft); }

header { display: grid; gap: .4rem; }
header .what { color: var(--soft); font-size: .92rem; }
h1 { display: flex; flex-wrap: wrap; align-items: center; gap: .35rem .9rem; font-size: clamp(1.5rem, 4.5vw, 2.1rem); line-height: 1.2; font-weight: 700; letter-spacing: -.015em; }
.verdict { font-size: .95rem; letter-spacing: .06em; font-weight: 700; padding: .3rem .75rem; border-radius: 99px; }
.VALID { color: var(--good); background: var(--good-wash); }
.INVALID { color: var(--bad); background: var(--bad-wash); }
.UNKNOWN { color: var(--open); background: var(--open-wash); }
.reasons { margin-top: 1rem; padding: .8rem 1rem; border-radius: .6rem; display: grid; gap: .3rem; font-size: .95rem; overflow-wrap: anywhere; }

.figures { display: grid; grid-template-columns: repeat(6, 1fr); gap: .75rem; margin-top: 1.75rem; }
.figures > div { background: var(--card); border: 1px solid var(--rule); border-radius: .7rem; padding: .85rem 1rem .8rem; }
.figures dt { color: var(--soft); font-size: .85rem; }
.figures dd { font-size: 1.7rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.figures small { display: block; color: var(--soft); font-size: .78rem; font-weight: 400; letter-spacing: 0; }
.figures .bad { border-color: var(--bad); }
.figures .bad dd { color: var(--bad); }

.chart { background: var(--card); border: 1px solid var(--rule); border-radius: .7rem; padding: 1rem 1.25rem .9rem 1rem; }
.labels, .axis { position: relative; margin-left: 3.4rem; }
.labels { height: calc(1.6rem * var(--rows, 1)); }
.label { position: absolute; top: calc(1.6rem * var(--row, 0)); transform: translateX(-.65rem); display: flex; align-items: center; gap: .4rem; white-space: nowrap; font-size: .8rem; color: var(--soft); }
.label b, td b { display: inline-grid; place-items: center; width: 1.3rem; height: 1.3rem; border-radius: 50%; background: var(--fault); color: var(--card); font-size: .75rem; font-weight: 700; flex: none; }
.label i { font-style: normal; }
.label.left { flex-direction: row-reverse; transform: translateX(calc(-100% + .65rem)); }
.caption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .1rem 1.25rem; margin: .55rem 0 .35rem 3.4rem; }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .8rem; color: var(--soft); }
.key li::before { content: ""; display: inline-block; width: .75rem; height: .75rem; border-radius: .2rem; margin-right: .4rem; vertical-align: -.06rem; background: var(--hue); }
.key .accepted::before { height: .2rem; vertical-align: .2rem; }
.flight { --hue: var(--flight); } .publishing { --hue: var(--publishing); } .effects { --hue: var(--effects); } .accepted { --hue: var(--accepted); }
.panel { position: relative; padding-left: 3.4rem; }
.panel svg { display: block; width: 100%; height: 11rem; overflow: visible; }
.scale { position: absolute; inset: 0 auto 0 0; width: 3rem; }
.scale span { position: absolute; right: 0; transform: translateY(-50%); font-size: .75rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.axis { height: 1.35rem; margin-top: .3rem; border-top: 1px solid var(--rule); }
.axis span { position: absolute; top: .25rem; transform: translateX(-50%); font-size: .75rem; color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
.axis span:first-child { transform: none; }
path, rect { vector-effect: non-scaling-stroke; }
.grid { stroke: var(--rule); stroke-width: 1; fill: none; }
.line { fill: none; stroke: var(--hue); stroke-width: 1.5; stroke-linejoin: round; }
.fill { fill: var(--hue); opacity: .28; stroke: none; }
.fill.publishing { opacity: .45; }
.band { fill: var(--fault); opacity: .16; }
.band.after { opacity: .07; }
.mark { stroke: var(--fault); stroke-width: 1.5; stroke-dasharray: 3 3; fill: none; }

.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: .7rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .6rem .9rem; white-space: nowrap; vertical-align: top; }
th { color: var(--soft); font-size: .8rem; font-weight: 500; }
tbody tr { border-top: 1px solid var(--rule); }
td { font-variant-numeric: tabular-nums; }
td b { margin-right: .5rem; }
td small { display: block; color: var(--soft); font-size: .78rem; }
.notes { max-width: 46rem; color: var(--soft); font-size: .92rem; display: grid; gap: .6rem; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .82rem; overflow-wrap: anywhere; }
@media (max-width: 62rem) {
  .figures { grid-template-columns: repeat(3, 1fr); }
  th, td { padding-inline: .65rem; }
}
@media (max-width: 46rem) {
  main { padding: 1.5rem .9rem 3rem; }
  .labels { height: 1.6rem; }
  .label { top: 0; }
  .label i { display: none; }
  .label.left { transform: translateX(-.65rem); }
  .chart { padding: .9rem .8rem .8rem .5rem; }
  .labels, .axis { margin-left: 2.7rem; }
  .panel { padding-left: 2.7rem; }
  .caption { margin-left: 2.7rem; }
  .scale { width: 2.4rem; }
  .figures { grid-template-columns: repeat(2, 1fr); gap: .55rem; }
  .panel svg { height: 9rem; }
  .scroll { background: none; border: 0; border-radius: 0; overflow: visible; }
  table, tbody { display: block; }
  thead { display: none; }
  tbody { display: grid; gap: .55rem; }
  tbody tr { display: block; background: var(--card); border: 1px solid var(--rule); border-radius: .7rem; padding: .55rem .9rem; }
  td { display: grid; grid-template-columns: 8rem 1fr; padding: .18rem 0; white-space: normal; }
  td::before { content: attr(data-name); color: var(--soft); font-size: .8rem; padding-top: .1rem; }
  td:first-child { display: block; font-weight: 600; padding-bottom: .3rem; }
  td:first-child::before { content: none; }
}
`;
