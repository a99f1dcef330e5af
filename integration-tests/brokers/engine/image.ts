import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { ensureEngine, type Docker, type Engine } from "./engine.ts";
import { fetchJars } from "./jars.ts";
import { withLock } from "./lock.ts";
import { ensurePrograms, systemPath } from "./packages.ts";
import { places } from "./places.ts";
import { toStderr, type Progress } from "./progress.ts";

/** Where a broker's image comes from. */
export interface ImageSource {
  /** Stands in the name of the image that we build: `tally/<name>:<hash>`. */
  readonly name: string;
  /** The environment variable that names another image, which is then used as it is or not at all. */
  readonly setting: string;
  /** The image of the broker's own makers, used where a registry answers. */
  readonly official: string;
  /** What we build of Debian's packages, and of jars, where none answers. */
  readonly recipe: Recipe;
}

export interface Recipe {
  readonly suite: string;
  readonly packages: readonly string[];
  /** A broker that Debian does not have, as artifacts of Maven's repository. */
  readonly jars?: Jars;
}

export interface Jars {
  /** `group:artifact:version`; what they need at run time comes with them. */
  readonly artifacts: readonly string[];
  /** Folder in the image. */
  readonly into: string;
}

export interface Image {
  readonly reference: string;
  /** `local`: was here already; nothing was asked, pulled or built. */
  readonly from: "local" | "pulled" | "built";
}

/** How long a registry may take to say that it has the image; most machines without one answer at once. */
const REGISTRY_ANSWER_MS = 10_000;

export async function ensureImage(source: ImageSource, progress: Progress = toStderr): Promise<Image> {
  const engine = await ensureEngine(progress);
  const asked = process.env[source.setting];
  if (asked) return await exactly(engine, asked, source, progress);
  const own = ownReference(source);
  for (const reference of [source.official, own]) {
    if (await exists(engine.docker, reference)) return { reference, from: "local" };
  }
  if (await registryHas(engine.docker, source.official)) {
    await pull(engine.docker, source.official, progress);
    return { reference: source.official, from: "pulled" };
  }
  progress(`no registry offers ${source.official}: building ${own} from Debian ${source.recipe.suite}`);
  const waiting = (): void => progress("another process is building an image, waiting for it …");
  return await withLock(join(places().root, "image.lock"), waiting, async () => {
    if (await exists(engine.docker, own)) return { reference: own, from: "local" };
    await build(engine.docker, own, source.recipe, progress);
    return { reference: own, from: "built" };
  });
}

async function exactly(engine: Engine, reference: string, source: ImageSource, progress: Progress): Promise<Image> {
  if (await exists(engine.docker, reference)) return { reference, from: "local" };
  if (!(await registryHas(engine.docker, reference))) {
    throw new Error(`${source.setting} names ${reference}, which is neither on this machine nor in its registry`);
  }
  await pull(engine.docker, reference, progress);
  return { reference, from: "pulled" };
}

/** The tag is a hash of the recipe: another recipe is another image, the same one is found again. */
export function ownReference(source: ImageSource): string {
  const hash = createHash("sha256").update(JSON.stringify(source.recipe)).digest("hex").slice(0, 12);
  return `tally/${source.name}:${hash}`;
}

async function exists(docker: Docker, reference: string): Promise<boolean> {
  try {
    await docker.getImage(reference).inspect();
    return true;
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return false;
    throw error;
  }
}

/** Asks for the manifest only, so that the decision is quick and the pull itself may take its time. */
async function registryHas(docker: Docker, reference: string): Promise<boolean> {
  const answer = docker
    .getImage(reference)
    .distribution()
    .then(
      () => true,
      () => false,
    );
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), REGISTRY_ANSWER_MS);
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function pull(docker: Docker, reference: string, progress: Progress): Promise<void> {
  progress(`pulling ${reference} …`);
  const stream = await docker.pull(reference);
  await followed(docker, stream, progress, reference);
}

/** Reads an engine's stream of progress records to its end; a record with an error ends it as an error. */
function followed(docker: Docker, stream: NodeJS.ReadableStream, progress: Progress, what: string): Promise<void> {
  let shown = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  docker.modem.followProgress(
    stream,
    (error) => (error === null ? resolve() : reject(error)),
    (record: { status?: string; error?: string }) => {
      if (record.error !== undefined) reject(new Error(`${what}: ${record.error}`));
      if (performance.now() - shown < 5_000) return;
      shown = performance.now();
      progress(`${what}: ${record.status ?? "…"}`);
    },
  );
  return promise;
}

async function build(docker: Docker, reference: string, recipe: Recipe, progress: Progress): Promise<void> {
  await ensurePrograms({ mmdebstrap: "mmdebstrap" }, progress);
  const started = performance.now();
  const seconds = (): string => ((performance.now() - started) / 1000).toFixed(0);
  await using jars = recipe.jars === undefined ? null : await fetchJars(recipe.jars.artifacts, progress);
  const args = ["--variant=minbase", `--include=${recipe.packages.join(",")}`];
  if (jars !== null) args.push(`--customize-hook=mkdir -p "$1"${recipe.jars!.into}`);
  if (jars !== null) args.push(`--customize-hook=cp -r ${jars.folder}/. "$1"${recipe.jars!.into}`);
  args.push(recipe.suite, "-");
  if (process.getuid?.() === 0) args.unshift("--mode=root");
  const maker = spawn("mmdebstrap", args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PATH: systemPath() },
  });
  let said = "";
  maker.stderr.setEncoding("utf8").on("data", (part: string) => (said = (said + part).slice(-4_000)));
  const ended = new Promise<number | null>((resolve, reject) => maker.on("error", reject).on("close", resolve));
  const ticker = setInterval(() => progress(`  … ${seconds()} s: ${lastStep(said)}`), 5_000);
  try {
    const [repo, tag] = reference.split(":") as [string, string];
    // The tag appears only when the whole archive has been read, so a build that dies leaves no image behind.
    const partial = `${tag}-partial`;
    const imported = docker.importImage(maker.stdout, { repo, tag: partial });
    const [stream, code] = await Promise.all([imported, ended]);
    await followed(docker, stream, progress, reference);
    if (code !== 0) throw new Error(`mmdebstrap ended with ${code}:\n${said}`);
    await docker.getImage(`${repo}:${partial}`).tag({ repo, tag });
    await docker.getImage(`${repo}:${partial}`).remove();
  } catch (error) {
    throw new Error(`building ${reference} failed; mmdebstrap said:\n${said}`, { cause: error });
  } finally {
    clearInterval(ticker);
  }
  progress(`built ${reference} in ${seconds()} s`);
}

function lastStep(said: string): string {
  const steps = said.split(/[\r\n]/).filter((line) => line.startsWith("I:"));
  return steps.at(-1)?.slice(3) ?? "starting";
}
