// The public API as a file: docs/api/<package>[-<entry>].api.md, made from the built types.
//
//   node .ci/api-report.ts             fails where a report differs from the API
//   node .ci/api-report.ts --write     writes the reports (npm run api)
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Extractor, ExtractorConfig, ExtractorLogLevel } from "@microsoft/api-extractor";

interface Entry {
  readonly report: string;
  readonly specifier: string;
  readonly folder: string;
  readonly types: string;
}

const root = join(import.meta.dirname, "..");
const reports = join(root, "docs", "api");
const scratch = join(root, "node_modules", ".cache", "api");
const write = process.argv.includes("--write");

// A compiled copy of a deleted file must not be taken for API.
const packages = readdirSync(join(root, "packages")).map((name) => join(root, "packages", name));
for (const folder of packages) rmSync(join(folder, "dist"), { recursive: true, force: true });
const built = spawnSync("tsc", ["-b", ...packages.map((folder) => join(folder, "src"))], { stdio: "inherit" });
if (built.status !== 0) process.exit(1);

const entries = packages.flatMap(entriesOf);
// In development packages resolve to each other's sources; a report sees what is published.
const paths = Object.fromEntries(entries.map(({ specifier, types }) => [specifier, [types]]));
mkdirSync(reports, { recursive: true });
for (const entry of entries) if (!report(entry)) process.exitCode = 1;
for (const file of readdirSync(reports)) {
  if (!file.endsWith(".api.md") || entries.some((entry) => `${entry.report}.api.md` === file)) continue;
  if (write) rmSync(join(reports, file));
  else complain(`docs/api/${file} belongs to no entry any more`);
}

function entriesOf(folder: string): readonly Entry[] {
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    name: string;
    publishConfig: { exports: Record<string, { types?: string }> };
  };
  return Object.entries(manifest.publishConfig.exports).flatMap(([path, { types }]) => {
    if (types === undefined) return [];
    const specifier = manifest.name + path.slice(1);
    return [
      {
        report: specifier.replace(/^@[^/]+\//, "").replaceAll("/", "-"),
        specifier,
        folder,
        types: join(folder, types),
      },
    ];
  });
}

function report({ report: name, folder, types }: Entry): boolean {
  const config = ExtractorConfig.prepare({
    configObjectFullPath: undefined,
    packageJsonFullPath: join(folder, "package.json"),
    configObject: {
      projectFolder: folder,
      mainEntryPointFilePath: types,
      newlineKind: "lf",
      compiler: {
        overrideTsconfig: {
          compilerOptions: {
            module: "nodenext",
            target: "es2024",
            lib: ["es2024", "esnext.disposable", "esnext.collection"],
            types: ["node"],
            typeRoots: [join(root, "node_modules", "@types")],
            skipLibCheck: true,
            strict: true,
            exactOptionalPropertyTypes: true,
            paths,
          },
          files: [types],
        },
      },
      apiReport: { enabled: true, reportFileName: name, reportFolder: reports, reportTempFolder: scratch },
      docModel: { enabled: false, apiJsonFilePath: join(scratch, "unused.json") },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      // Opinions on release tags, TSDoc's syntax and types that another entry exports are not our concern.
      messages: {
        extractorMessageReporting: { default: { logLevel: ExtractorLogLevel.None } },
        tsdocMessageReporting: { default: { logLevel: ExtractorLogLevel.None } },
        compilerMessageReporting: { default: { logLevel: ExtractorLogLevel.Error } },
      },
    },
  });
  const before = existsSync(config.reportFilePath) ? readFileSync(config.reportFilePath, "utf8") : "";
  const result = Extractor.invoke(config, {
    localBuild: write,
    messageCallback: (message) => {
      message.handled = true;
      if (message.logLevel === ExtractorLogLevel.Error) console.error(message.text);
    },
  });
  const now = readFileSync(config.reportTempFilePath, "utf8");
  if (result.errorCount > 0) return complain(`docs/api/${name}.api.md could not be made`);
  if (write || now === before) {
    console.log(`docs/api/${name}.api.md ${now === before ? "is as the API is" : "written"}`);
    return true;
  }
  spawnSync("diff", ["-uN", config.reportFilePath, config.reportTempFilePath], { stdio: "inherit" });
  return complain(`the API is not as docs/api/${name}.api.md says; if that is meant: npm run api`);
}

function complain(text: string): false {
  console.error(text);
  process.exitCode = 1;
  return false;
}
