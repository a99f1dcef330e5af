// Programs in the documents are programs: each ```ts block is type-checked against the packages. What a block leaves out
// stands in a comment right before it, which readers do not see:
//
//   <!-- given
//   declare const tally: Tally;
//   -->
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { filesBelow, root } from "./files.ts";

const documents = filesBelow(".", /\.md$/).filter(({ path }) =>
  /^(README|docs\/[^/]+|(?:examples|packages\/[^/]+)\/README)\.md$/.test(path),
);

it("programs in the documents type-check", { timeout: 60_000 }, async () => {
  const blocks = documents.flatMap(({ path, text }) =>
    [...text.matchAll(/^(?:<!-- given\n([^]*?)^-->\n+)?```ts\n([^]*?)^```$/gm)].map(
      ([, given = "", program = ""], n) => ({
        name: `${path.replaceAll("/", ".")}.${n + 1}.ts`,
        text: `${given}${program}\nexport {};\n`,
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

it("what the documents link to is there", () => {
  const dead = documents.flatMap(({ path, text }) =>
    [...text.matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)]
      .filter(([, target = ""]) => !existsSync(join(root, dirname(path), target)))
      .map(([, target]) => `${path}: ${target}`),
  );
  expect(dead).toEqual([]);
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

/** What the compiler says of them, where the packages that the examples use can be imported. */
async function typeErrors(
  files: readonly { readonly name: string; readonly text: string }[],
): Promise<readonly string[]> {
  await mkdir(join(root, ".tally"), { recursive: true });
  const folder = await mkdtemp(join(root, ".tally/documents-"));
  try {
    await symlink(join(root, "examples/node_modules"), join(folder, "node_modules"));
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
