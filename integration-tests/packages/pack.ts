// Builds the packages, packs them as they would be published, and installs them into a
// project outside this repository, as a user would.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = dirname(dirname(import.meta.dirname));
const bin = join(root, "node_modules", ".bin");
const PNPM = "pnpm@12.21.0";

export interface Outcome {
  readonly status: number;
  /** Standard output and error, as they came. */
  readonly output: string;
}

export interface Packed {
  readonly name: string;
  readonly tarball: string;
  /** Paths inside, without the leading `package/`. */
  readonly files: readonly string[];
  readonly manifest: Readonly<Record<string, unknown>>;
}

/** Runs to the end and never throws for a status other than 0: the tests look at it. */
export function run(folder: string, command: string, ...args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(command, args, { cwd: folder, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
      resolve({
        status,
        output: error !== null && status === 1 ? `${stdout}${stderr}${error.message}` : stdout + stderr,
      });
    });
  });
}

export function tool(folder: string, name: string, ...args: readonly string[]): Promise<Outcome> {
  return run(folder, join(bin, name), ...args);
}

async function must(step: Promise<Outcome>): Promise<string> {
  const { status, output } = await step;
  if (status !== 0) throw new Error(`exit ${status}\n${output}`);
  return output;
}

/** The tarballs of all packages. Compiled anew, so that nothing of a deleted file is in them. */
export async function packAll(into: string): Promise<readonly Packed[]> {
  const folders = (await readdir(join(root, "packages"))).map((name) => join(root, "packages", name));
  await Promise.all(folders.map((folder) => rm(join(folder, "dist"), { recursive: true, force: true })));
  await must(tool(root, "tsc", "-b", ...folders.map((folder) => join(folder, "src"))));
  const packed: Packed[] = [];
  for (const folder of folders) {
    const place = await mkdtemp(join(into, "tarball-"));
    await must(run(folder, "npx", "-y", PNPM, "pack", "--pack-destination", place));
    const [file = ""] = await readdir(place);
    const tarball = join(place, file);
    const list = await must(run(place, "tar", "-tzf", tarball));
    await must(run(place, "tar", "-xzf", tarball));
    const manifest = JSON.parse(await readFile(join(place, "package", "package.json"), "utf8")) as Packed["manifest"];
    const files = list
      .trim()
      .split("\n")
      .map((path) => path.replace(/^package\//, ""));
    packed.push({ name: String(manifest["name"]), tarball, files, manifest });
  }
  return packed;
}

/** A project with nothing in it but a manifest. */
export async function freshProject(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tally-consumer-"));
  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
  return folder;
}

export async function writeAll(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
}

/** The driver version that an adapter is tested with here. */
export async function driverVersion(adapter: string, driver: string): Promise<string> {
  const text = await readFile(join(root, "packages", adapter, "package.json"), "utf8");
  return (JSON.parse(text) as { devDependencies: Record<string, string> }).devDependencies[driver] ?? "";
}
