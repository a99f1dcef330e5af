// Laws of the house that no linter can express. Each returns what breaks it, so that a failure names the place.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { filesBelow, root, type SourceFile } from "./files.ts";

const CODE = /\.(ts|mts|cts|mjs|js)$/;
const TEXT = /\.(ts|mts|cts|mjs|js|json|jsonc|ya?ml|md|sh|html|conf|xml|txt)$|^(run|Dockerfile|\.npmrc|\.gitignore)$/;
const self = "integration-tests/house/laws.test.ts";
const code = filesBelow(".", CODE);
const text = filesBelow(".", TEXT);

/** Lines that match, as `path:line`. */
function lines(files: readonly SourceFile[], pattern: RegExp): readonly string[] {
  return files.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1} ${line.trim()}`] : [])),
  );
}

describe("files", () => {
  it("over 300 lines say in their first line why they are one thing", () => {
    const silent = code.filter(({ text }) => {
      const all = text.trimEnd().split("\n");
      return all.length > 300 && !/^(\/\/|\/\*).*\bone\b/i.test(all[0] ?? "");
    });
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  it("are named for what they hold, not numbered", () => {
    expect(code.filter(({ path }) => /[a-z]\d\.(ts|mjs)$/.test(path)).map(({ path }) => path)).toEqual([]);
  });

  it("name no machine, no home folder and no package registry", () => {
    const machine = /(^|[\s"'`(=:])(\/work\/|\/root\/|\/home\/)|\bshared\/(design|rules|port|facts|reliability)/;
    const registry = /registry\.[a-z0-9-]+\.|\.pkg\.dev|artifactory|verdaccio|tarball: *http/i;
    const others = text.filter(({ path }) => path !== self);
    expect(lines(others, machine)).toEqual([]);
    expect(lines([...others, lockFile()], registry)).toEqual([]);
  });

  it("stand in the rooms that the plan names", () => {
    const rooms = readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      .map((entry) => entry.name)
      .filter((name) => !["node_modules", "coverage"].includes(name));
    expect(rooms.toSorted()).toEqual(["bench", "compare", "docs", "examples", "integration-tests", "packages"]);
  });
});

describe("adapters", () => {
  const NAMES = ["index", "options", "transport", "sender", "receiver", "topology", "codec", "errors", "audit/audit"];
  it.each(["rabbitmq", "kafka", "rocketmq"])("have the same names for the same things: %s", (adapter) => {
    const src = join(root, "packages", adapter, "src");
    expect(NAMES.filter((name) => !existsSync(join(src, `${name}.ts`)))).toEqual([]);
  });
});

describe("tests", () => {
  it("are never skipped, left open, or run alone", () => {
    const found = lines(
      code.filter(({ path }) => !path.startsWith("integration-tests/house/")),
      /\b(test|it|describe|suite)(\.\w+)*\.(skip|only|todo|skipIf|runIf|fails)\b|\b(ctx|context|task)\.skip\(/,
    );
    expect(found).toEqual([]);
  });

  it("stand in test/ of their package", () => {
    const inSource = code.filter(({ path }) => /^packages\/[^/]+\/src\/.*\.test\.ts$/.test(path));
    expect(inSource.map(({ path }) => path)).toEqual([]);
  });
});

describe("packages", () => {
  const manifests = readdirSync(join(root, "packages")).flatMap((folder) => {
    const path = join(root, "packages", folder, "package.json");
    return existsSync(path) ? [JSON.parse(readFileSync(path, "utf8")) as Manifest] : [];
  });
  const manifest = (name: string): Manifest => {
    const found = manifests.find((each) => each.name === name);
    if (!found) throw new Error(`no package ${name}`);
    return found;
  };

  it("depend on the testkit in development only, and on core as a peer", () => {
    for (const each of manifests) {
      expect(Object.keys(each.dependencies ?? {}), each.name).not.toContain("@tallymq/testkit");
      expect(Object.keys(each.peerDependencies ?? {}), each.name).not.toContain("@tallymq/testkit");
      expect(Object.keys(each.dependencies ?? {}), each.name).not.toContain("@tallymq/core");
      if (each.name !== "@tallymq/core") expect(Object.keys(each.peerDependencies ?? {})).toContain("@tallymq/core");
    }
  });

  it("keep core's one dependency one", () => {
    expect(Object.keys(manifest("@tallymq/core").dependencies ?? {})).toEqual(["p-retry"]);
    expect(manifest("@tallymq/core").peerDependencies).toBeUndefined();
  });

  it("leave the driver to the user: a peer within a range", () => {
    expect(manifest("@tallymq/rabbitmq").peerDependencies?.["amqplib"]).toMatch(/^[~^]/);
    expect(manifest("@tallymq/rabbitmq").dependencies ?? {}).toEqual({});
    expect(manifest("@tallymq/kafka").peerDependencies?.["kafkajs"]).toMatch(/^[~^]/);
    expect(manifest("@tallymq/kafka").dependencies ?? {}).toEqual({});
    expect(manifest("@tallymq/rocketmq").peerDependencies?.["rocketmq-client-nodejs"]).toMatch(/^[~^]/);
    expect(manifest("@tallymq/rocketmq").dependencies ?? {}).toEqual({});
  });

  it("ship dist, run nothing at install, and want Node 22.22", () => {
    for (const each of manifests) {
      expect(each.files, each.name).toEqual(["dist", "!dist/**/*.tsbuildinfo"]);
      expect(Object.keys(each.scripts ?? {}).filter((name) => /install|prepare/.test(name))).toEqual([]);
      expect(each.engines?.["node"], each.name).toBe(">=22.22.0");
      expect(each.type, each.name).toBe("module");
    }
  });

  it("export no abstract classes", () => {
    expect(lines(filesBelow("packages", CODE), /^export (default )?abstract class\b/)).toEqual([]);
  });
});

interface Manifest {
  readonly name: string;
  readonly type?: string;
  readonly files?: readonly string[];
  readonly scripts?: Readonly<Record<string, string>>;
  readonly engines?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

function lockFile(): SourceFile {
  return { path: "pnpm-lock.yaml", text: readFileSync(join(root, "pnpm-lock.yaml"), "utf8") };
}
