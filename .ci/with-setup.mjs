// Runs a command of this repository after making sure that what it needs is there:
//
//   node .ci/with-setup.mjs <command> [arguments…]
//
// It is the one file that must run on the machine's own Node (20 or later) before
// anything is installed; so it has no dependencies and no types to strip.
// Set-up is a frozen `pnpm install` (pnpm itself comes through npx), left out while the
// lock file and the manifests are those of the last install. The command then runs with
// node_modules/.bin first on PATH, where the project's own Node is.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PNPM = "pnpm@12.21.0";
const NODE_MAJOR = 24;
const windows = process.platform === "win32";
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, "node_modules", ".bin");
const stampFile = join(root, "node_modules", ".tally-setup");
const lockFile = join(root, ".tally", "setup.lock");

const say = (text) => process.stderr.write(`set-up: ${text}\n`);
const fail = (text) => {
  say(text);
  process.exit(1);
};

const [command, ...args] = process.argv.slice(2);
if (command === undefined) fail("no command given");
await setUp();
const env = { ...process.env, PATH: [...searchPath(), process.env.PATH].join(delimiter) };
run(command, args);

async function setUp() {
  if (isSetUp()) return;
  await lock();
  try {
    if (isSetUp()) return; // somebody else did it while we waited
    say(`installing what the project needs (${PNPM}, through npx)`);
    const stamp = stampNow();
    const started = Date.now();
    // CI=true: pnpm must never stop to ask whether it may rebuild node_modules.
    const { status, error } = spawnSync("npx", ["-y", PNPM, "install", "--frozen-lockfile"], {
      cwd: root,
      stdio: ["ignore", 2, 2],
      shell: windows,
      env: { ...process.env, CI: "true" },
    });
    if (error) fail(`npx could not be started (${error.code}); it comes with npm`);
    if (status !== 0) fail(`pnpm install failed (exit ${status})`);
    writeFileSync(stampFile, stamp);
    say(`done in ${Math.round((Date.now() - started) / 1000)} s`);
  } finally {
    rmSync(lockFile, { force: true });
  }
}

function isSetUp() {
  return existsSync(stampFile) && readFileSync(stampFile, "utf8") === stampNow();
}

/** What an install depends on: lock file, manifests, platform. */
function stampNow() {
  const hash = createHash("sha256").update(`${PNPM} ${process.platform} ${process.arch}`);
  const folders = ["packages", "examples", "integration-tests", "bench", "compare", "docs"].flatMap((folder) => [
    folder,
    ...(folder === "packages"
      ? readdirSync(join(root, folder))
          .sort()
          .map((name) => join(folder, name))
      : []),
  ]);
  for (const file of [
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "package.json",
    ...folders.map((f) => join(f, "package.json")),
  ]) {
    const path = join(root, file);
    hash.update(`\0${file}\0`).update(existsSync(path) ? readFileSync(path) : "");
  }
  return hash.digest("hex");
}

/** Two commands started at once must not install into one node_modules at the same time. */
async function lock() {
  mkdirSync(dirname(lockFile), { recursive: true });
  for (let waited = false; ; waited = true) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: "wx" });
      return;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (!holderLives()) rmSync(lockFile, { force: true });
    else if (!waited) say("waiting for another command's set-up");
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

function holderLives() {
  try {
    const pid = Number(readFileSync(lockFile, "utf8"));
    if (pid === 0) return true; // created, its number not yet written
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** What goes first on PATH: the tools, and a Node that is new enough. */
function searchPath() {
  const packaged = join(bin, "node");
  if (major(packaged) >= NODE_MAJOR) return [bin];
  if (major(process.execPath) < NODE_MAJOR) {
    fail(
      `Node ${NODE_MAJOR} or later is needed; no packaged one runs on ${process.platform}-${process.arch}, ` +
        `and this one is ${process.version}. Install Node ${NODE_MAJOR} and run the command again.`,
    );
  }
  // A packaged one that does not run here (musl, say) must not stand before one that does.
  const own = dirname(process.execPath);
  return existsSync(packaged) ? [own, bin] : [bin, own];
}

function major(node) {
  const { status, stdout } = spawnSync(node, ["--version"], { encoding: "utf8" });
  return status === 0 ? Number(/^v(\d+)\./.exec(stdout)?.[1] ?? 0) : 0;
}

/** Hands over arguments, terminal, signals and exit status. */
function run(name, rest) {
  const child = spawn(name, rest, { cwd: root, stdio: "inherit", env, shell: windows });
  // On a terminal ^C reaches the child by itself: the whole foreground group gets it.
  for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"]) {
    process.on(signal, () => {
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on("error", (error) => fail(`${name} could not be started (${error.code})`));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}
