import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

/** Where our own engine keeps what it needs; everything beneath may be deleted while it is stopped. */
export interface Places {
  readonly root: string;
  readonly lock: string;
  readonly data: string;
  /** Short-lived state: sockets, pid file. */
  readonly run: string;
  readonly socket: string;
  readonly pid: string;
  readonly log: string;
}

/** A unix socket's path holds 107 bytes, and the engine adds names of its own beneath its run folder. */
const LONGEST_RUN_FOLDER = 60;

export function places(): Places {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const root = join(cache, "tally", "engine");
  const beneath = join(root, "run");
  const hash = createHash("sha256").update(root).digest("hex").slice(0, 8);
  const run = beneath.length <= LONGEST_RUN_FOLDER ? beneath : join(tmpdir(), `tally-engine-${hash}`);
  for (const folder of [root, run]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  return {
    root,
    run,
    lock: join(root, "lock"),
    data: join(root, "data"),
    socket: join(run, "docker.sock"),
    pid: join(run, "docker.pid"),
    log: join(root, "dockerd.log"),
  };
}
