import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { core } from "./core.ts";
import type { Figures } from "./play.ts";
import { rabbitmq } from "./rabbitmq.ts";
import { table } from "./table.ts";

const BENCHES: Readonly<Record<string, (rounds: number, say: (line: string) => void) => Promise<Figures>>> = {
  core,
  rabbitmq,
};
const USAGE = `npm run bench -- ${Object.keys(BENCHES).join("|")} [--rounds N] [--json FILE]`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "5" }, json: { type: "string" } },
});
const [name = "", ...rest] = positionals;
const bench = BENCHES[name];
const rounds = Number(values.rounds);
if (bench === undefined || rest.length > 0 || !Number.isInteger(rounds) || rounds < 1 || rounds > 50) {
  console.error(`usage: ${USAGE}; rounds from 1 to 50`);
  process.exit(2);
}

const figures = await bench(rounds, (line) => console.error(line));
console.log(
  `\n${table(figures.rows)}\n\nmedians of ${rounds} rounds; each figure in a process of its own\n${figures.goals.join("\n")}`,
);
if (values.json !== undefined) {
  const rows = figures.rows.map(({ case: name, client, rate, cpuMicros, ratio }) => ({
    case: name,
    client,
    rate,
    cpuMicros,
    ratio,
  }));
  await writeFile(values.json, `${JSON.stringify({ rows }, null, 2)}\n`);
}
