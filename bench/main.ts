import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { core } from "./core.ts";
import type { Figures } from "./play.ts";
import { rabbitmq } from "./rabbitmq.ts";
import { table } from "./table.ts";

type Bench = (rounds: number, say: (line: string) => void) => Promise<Figures>;
const BENCHES: Readonly<Record<string, Bench>> = {
  core,
  rabbitmq,
};
const USAGE = `npm run bench -- ${Object.keys(BENCHES).join("|")} [--rounds N] [--json FILE]`;

const { bench, rounds, json } = readArguments();
const figures = await bench(rounds, (line) => console.error(line));
console.log(
  `\n${table(figures.rows)}\n\nmedians of ${rounds} rounds; each figure in a process of its own\n${figures.goals.join("\n")}`,
);
if (json !== undefined) {
  const rows = figures.rows.map(({ case: name, client, rate, cpuMicros, ratio }) => ({
    case: name,
    client,
    rate,
    cpuMicros,
    ratio,
  }));
  await writeFile(json, `${JSON.stringify({ rows }, null, 2)}\n`);
}

function readArguments(): { readonly bench: Bench; readonly rounds: number; readonly json: string | undefined } {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { rounds: { type: "string", default: "5" }, json: { type: "string" } },
    });
    const [name = "", ...rest] = positionals;
    const bench = BENCHES[name];
    const rounds = Number(values.rounds);
    if (bench !== undefined && rest.length === 0 && Number.isInteger(rounds) && rounds >= 1 && rounds <= 50) {
      return { bench, rounds, json: values.json };
    }
  } catch {
    // An unknown option: the usage says which there are.
  }
  console.error(`usage: ${USAGE}; rounds from 1 to 50`);
  process.exit(2);
}
