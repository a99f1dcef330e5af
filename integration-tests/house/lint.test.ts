// The lint configuration is what keeps several laws; here each is broken on purpose in a copy of the
// layout elsewhere, under our configuration, and must be reported.
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root } from "./files.ts";

const CORE = "packages/core/src/x.ts";
const PLATFORM = "packages/core/src/platform/x.ts";
const RABBIT = "packages/rabbitmq/src/x.ts";
const TEST = "packages/core/test/x.test.ts";

/** [what is forbidden, where, the line that does it, the rule that says so] */
const BROKEN: readonly (readonly [law: string, file: string, line: string, rule: string])[] = [
  ["core imports node:", CORE, `import "node:fs";`, "no-restricted-imports"],
  ["core imports a module of Node by its bare name", CORE, `import "fs/promises";`, "no-restricted-imports"],
  ["core imports an adapter", CORE, `import "@tallymq/rabbitmq";`, "no-restricted-imports"],
  ["core imports the testkit", CORE, `import "@tallymq/testkit";`, "no-restricted-imports"],
  ["core reaches into another package", CORE, `import "../../testkit/src/index.ts";`, "no-restricted-imports"],
  ["core's platform imports an adapter", PLATFORM, `import "@tallymq/rabbitmq";`, "no-restricted-imports"],
  ["an adapter imports another", RABBIT, `import "@tallymq/kafka";`, "no-restricted-imports"],
  ["an adapter imports the testkit", RABBIT, `import "@tallymq/testkit";`, "no-restricted-imports"],
  ["an adapter imports node:", RABBIT, `import "node:net";`, "no-restricted-imports"],
  ...[CORE, RABBIT].flatMap((file) =>
    [
      ["the time of day", `export const a = Date.now();`, "no-restricted-globals"],
      ["a timer", `export const a = setTimeout(() => {}, 1);`, "no-restricted-globals"],
      ["an interval", `export const a = setInterval(() => {}, 1);`, "no-restricted-globals"],
      ["an immediate", `export const a = setImmediate(() => {});`, "no-restricted-globals"],
      ["the monotonic clock", `export const a = performance.now();`, "no-restricted-globals"],
      ["the process", `export const a = process.pid;`, "no-restricted-globals"],
      ["globals by the back door", `export const a = globalThis;`, "no-restricted-globals"],
      ["the signal with a timer inside", `export const a = AbortSignal.timeout(1);`, "no-restricted-properties"],
      ["random numbers", `export const a = Math.random();`, "no-restricted-properties"],
      ["random ids", `export const a = crypto.randomUUID();`, "no-restricted-properties"],
    ].map(([law = "", line = "", rule = ""]) => [`${law} in ${file}`, file, line, rule] as const),
  ),
  ["a promise left floating", CORE, `const f = async (): Promise<void> => {}; f();`, "no-floating-promises"],
  ["any", CORE, `export const a: any = 1;`, "no-explicit-any"],
  ["a skipped test", TEST, `import { test } from "vitest"; test.skip("a", () => {});`, "no-disabled-tests"],
  ["a test alone", TEST, `import { test } from "vitest"; test.only("a", () => {});`, "no-focused-tests"],
];

/** The same lines where they are allowed, and no report may come. */
const ALLOWED: readonly (readonly [what: string, file: string, line: string])[] = [
  ["node: and the clock in core's platform", PLATFORM, `import "node:fs"; export const a = Date.now();`],
  ["core and its spi in an adapter", RABBIT, `import "@tallymq/core"; import "@tallymq/core/spi"; import "amqplib";`],
  ["node: in a test", TEST, `import "node:fs"; export const a = setTimeout(() => {}, 1);`],
];

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tally-laws-"));
  await copyFile(join(root, ".oxlintrc.jsonc"), join(folder, ".oxlintrc.jsonc"));
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Report {
  readonly diagnostics: readonly { readonly code: string; readonly filename: string }[];
}

/** One run for all cases, each in a folder of its own below the path that the configuration looks at. */
async function lint(cases: readonly (readonly [file: string, line: string])[]): Promise<readonly string[][]> {
  const names = await Promise.all(
    cases.map(async ([file, line], index) => {
      const name = join(dirname(file), `case-${index}`, file.endsWith(".test.ts") ? "x.test.ts" : "x.ts");
      await mkdir(join(folder, dirname(name)), { recursive: true });
      await writeFile(join(folder, name), `${line}\n`);
      return name;
    }),
  );
  const out = await new Promise<string>((resolve) => {
    execFile("oxlint", ["-f", "json", ...names], { cwd: folder }, (_failed, stdout) => resolve(stdout));
  });
  const { diagnostics } = JSON.parse(out) as Report;
  return names.map((name) => diagnostics.filter(({ filename }) => filename === name).map(({ code }) => code));
}

describe("the lint configuration", () => {
  it("reports each broken law", async () => {
    const reports = await lint(BROKEN.map(([, file, line]) => [file, line]));
    const unseen = BROKEN.filter(([, , , rule], index) => !reports[index]?.some((code) => code.includes(rule)));
    expect(unseen).toEqual([]);
  });

  it("is silent where the same is allowed", async () => {
    const reports = await lint(ALLOWED.map(([, file, line]) => [file, line]));
    expect(ALLOWED.map(([what], index) => [what, reports[index]])).toEqual(ALLOWED.map(([what]) => [what, []]));
  });
});
