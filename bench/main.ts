import { writeFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { core } from "./core.ts";
import { outbox } from "./outbox.ts";
import { kafka } from "./kafka.ts";
import type { Figures, Settings } from "./play.ts";
import { rabbitmq } from "./rabbitmq.ts";
import { rocketmq } from "./rocketmq.ts";
import { table } from "./table.ts";

type Bench = (settings: Settings, say: (line: string) => void) => Promise<Figures>;
const BENCHES: Readonly<Record<string, Bench>> = {
  core,
  kafka,
  outbox,
  rabbitmq,
  rocketmq,
};
const USAGE = `npm run bench -- ${Object.keys(BENCHES).join("|")} [--rounds N] [--json FILE] [--folder DIR] [--only CASE]`;

const { bench, json, ...settings } = readArguments();
const figures = await bench(settings, (line) => console.error(line));
console.log(
  `\n${table(figures.rows)}\n\nmedians of ${settings.rounds} rounds; each figure in a process of its own; load ${loadavg()[0]?.toFixed(1)}\n${figures.goals.join("\n")}`,
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
if (figures.problems.length > 0) {
  console.error(`\nwhat must hold did not:\n${figures.problems.join("\n")}`);
  process.exitCode = 1;
}

function readArguments(): Settings & { readonly bench: Bench; readonly json: string | undefined } {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        // Even: who goes first was up to a sixth faster, and so each goes first as often.
        rounds: { type: "string", default: "6" },
        json: { type: "string" },
        folder: { type: "string" },
        only: { type: "string" },
      },
    });
    const [name = "", ...rest] = positionals;
    const bench = BENCHES[name];
    const rounds = Number(values.rounds);
    if (bench !== undefined && rest.length === 0 && Number.isInteger(rounds) && rounds >= 1 && rounds <= 50) {
      return { bench, rounds, json: values.json, folder: values.folder ?? null, only: values.only ?? null };
    }
  } catch {
    // An unknown option: the usage says which there are.
  }
  console.error(`usage: ${USAGE}; rounds from 1 to 50`);
  process.exit(2);
}
