// Programs in the documents are programs: each ```ts block is type-checked against the packages. What a block leaves out
// stands in a comment right before it, which readers do not see:
//
//   <!-- given
//   declare const tally: Tally;
//   -->
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join, posix } from "node:path";
import { expect, it } from "vitest";
import { filesBelow, root } from "./files.ts";

// All that a person wrote: the reports of the API and the notes for releases are made, and made for tools.
const documents = filesBelow(".", /\.md$/).filter(({ path }) => !/^(?:docs\/api|\.changeset)\//.test(path));

it("programs in the documents type-check", { timeout: 60_000 }, async () => {
  const blocks = documents.flatMap(({ path, text }) =>
    [...text.matchAll(/^(?:<!-- given\n([^]*?)^-->\n+)?```ts\n([^]*?)^```$/gm)].map(
      ([, given = "", program = ""], n) => ({
        name: `${path.replaceAll("/", ".")}.${n + 1}.ts`,
        text: `${fromThere(path, given + program)}\nexport {};\n`,
      }),
    ),
  );
  const fences = documents.reduce(
    (sum, { text }) => sum + text.split("\n").filter((line) => line === "```ts").length,
    0,
  );
  expect(blocks).toHaveLength(fences);
  expect(await typeErrors(blocks)).toEqual([]);
});

it("what the documents link to is there, headings too", () => {
  const dead = documents.flatMap(({ path, text }) =>
    [...text.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)]
      .filter(([, target = "", heading]) => {
        const file = target === "" ? path : posix.join(posix.dirname(path), target);
        if (!existsSync(join(root, file))) return true;
        return heading !== undefined && !headingsOf(file).includes(heading);
      })
      .map(([link]) => `${path}: ${link.slice(1)}`),
  );
  expect(dead).toEqual([]);
});

it("each command in the documents is a script of the project", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { readonly scripts: object };
  const named = documents.flatMap(({ path, text }) =>
    [...text.matchAll(/\bnpm run ([\w-]+)/g)].map(([, name = ""]) => ({ path, name })),
  );
  expect(named.length).toBeGreaterThan(40);
  expect(named.filter(({ name }) => !Object.hasOwn(scripts, name))).toEqual([]);
  // And each script can be found.
  const known = documents.find(({ path }) => path === "docs/development.md")?.text ?? "";
  const shown = (name: string): boolean => known.includes(`\`npm run ${name}`) || known.includes(`\`npm ${name}\``);
  expect(Object.keys(scripts).filter((name) => !shown(name))).toEqual([]);
});

it("each page of a broker, and that of the store, has all of its options", async () => {
  const missing: string[] = [];
  for (const [page, source, ...tables] of OPTIONS) {
    const text = documents.find(({ path }) => path === page)?.text ?? "";
    const programs = [...text.matchAll(/^```ts$[^]*?^```$/gm)].join("\n");
    const code = await readFile(join(root, source), "utf8");
    for (const table of tables) {
      const body = new RegExp(`^export interface ${table} \\{\\n([^]*?)^\\}`, "m").exec(code)?.[1] ?? "";
      const names = [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, name = ""]) => name);
      expect(names.length, `${table} in ${source}`).toBeGreaterThan(1);
      const shown = (name: string): boolean =>
        new RegExp(`\`[^\`\\n]*\\b${name}\\b`).test(text) || new RegExp(`\\b${name}: `).test(programs);
      missing.push(...names.filter((name) => !shown(name)).map((name) => `${page}: ${name} of ${table}`));
    }
  }
  expect(missing).toEqual([]);
});

it("the tables above the lists of events and of error codes have each of them, and nothing else", () => {
  const sources = filesBelow("packages/core/src", /^(?:events|error)\.ts$/);
  for (const [file, list, member] of [
    ["events.ts", "export type TallyEventBody =", /readonly type: ((?:\s*\|?\s*"[\w-]+")+)/g],
    ["error.ts", "export type ErrorCode =", /^ {2}\| ("[\w-]+")/gm],
  ] as const) {
    const text = sources.find(({ path }) => path === `packages/core/src/${file}`)?.text ?? "";
    const [table = "", rest = ""] = text.split(list);
    const rows = [...table.matchAll(/^ \* \| (`[^|]+`) \|/gm)].flatMap(
      ([, names = ""]) => names.match(/[\w-]+/g) ?? [],
    );
    const members = [...rest.matchAll(member)].flatMap(([, names = ""]) => names.match(/[\w-]+/g) ?? []);
    expect(rows.length, file).toBeGreaterThan(20);
    expect(rows.toSorted(), file).toEqual(members.toSorted());
  }
});

it("each example stands in the list of them, and is run by a test", () => {
  const programs = filesBelow("examples", /^[\w-]+\.ts$/)
    .filter(
      ({ path, text }) =>
        /^examples\/[^/]+$/.test(path) && !path.endsWith(".test.ts") && /^\/\/ +(?:\w+=\S+ )*node /m.test(text),
    )
    .map(({ path }) => path.slice("examples/".length));
  expect(programs.length).toBeGreaterThan(8);
  const list = documents.find(({ path }) => path === "examples/README.md")?.text;
  const [tests] = filesBelow("examples", /^examples\.test\.ts$/);
  expect(programs.filter((name) => list?.includes(`](${name})`) !== true)).toEqual([]);
  expect(programs.filter((name) => tests?.text.includes(`example("${name}"`) !== true)).toEqual([]);
});

/** Page, source, and the tables of options in it. */
const OPTIONS = [
  ["docs/rabbitmq.md", "packages/rabbitmq/src/options.ts", "RabbitOptions"],
  ["docs/rabbitmq.md", "packages/rabbitmq/src/topics.ts", "RabbitTopicOptions"],
  ["docs/kafka.md", "packages/kafka/src/options.ts", "KafkaOptions", "KafkaTopicOptions"],
  ["docs/rocketmq.md", "packages/rocketmq/src/options.ts", "RocketOptions", "RocketCredentials", "RocketTopicOptions"],
  ["packages/store-sqlite/README.md", "packages/store-sqlite/src/options.ts", "SqliteOptions"],
] as const;

/** Of a document, as GitHub names them in a link. */
function headingsOf(path: string): readonly string[] {
  const text = documents.find((each) => each.path === path)?.text ?? "";
  return [...text.replaceAll(/^```[^]*?^```$/gm, "").matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** What a program imports from beside its document, as it is found from two folders below the root. */
function fromThere(path: string, program: string): string {
  return program.replaceAll(
    /(?<= from ")\.\.?\/[^"]+(?=")/g,
    (beside) => `../../${posix.join(posix.dirname(path), beside)}`,
  );
}

/** What the compiler says of them, where all packages of the project can be imported. */
async function typeErrors(
  files: readonly { readonly name: string; readonly text: string }[],
): Promise<readonly string[]> {
  await mkdir(join(root, ".tally"), { recursive: true });
  const folder = await mkdtemp(join(root, ".tally/documents-"));
  try {
    // What either has: examples the schemas, integration tests each adapter.
    await mkdir(join(folder, "node_modules"));
    for (const from of ["examples/node_modules", "integration-tests/node_modules"])
      for (const name of (await readdir(join(root, from))).filter((each) => !each.startsWith("."))) {
        await rm(join(folder, "node_modules", name), { force: true });
        await symlink(join(root, from, name), join(folder, "node_modules", name));
      }
    for (const { name, text } of files) await writeFile(join(folder, name), text);
    const compilerOptions = { composite: false, incremental: false, noEmit: true, noUnusedLocals: false };
    const project = { extends: "../../tsconfig.base.json", compilerOptions, files: files.map(({ name }) => name) };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(project));
    await writeFile(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    const said = await new Promise<string>((resolve) => {
      execFile("tsc", ["-p", ".", "--pretty", "false"], { cwd: folder }, (failed, stdout, stderr) =>
        resolve(failed === null ? "" : stdout + stderr || failed.message),
      );
    });
    return said.split("\n").filter((line) => line !== "");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
