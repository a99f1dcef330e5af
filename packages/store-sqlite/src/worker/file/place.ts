import { accessSync, chmodSync, closeSync, constants, lstatSync, openSync, type Stats, statfsSync } from "node:fs";
import { basename, dirname } from "node:path";
import { Fault, messageOf } from "../fault.ts";

/** Where SQLite's write-ahead log breaks: its shared memory does not reach other machines, and locks may be pretended. */
const NETWORK: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xfe534d42, "SMB2"],
  [0xff534d42, "CIFS"],
  [0x5346414f, "AFS"],
  [0x6b414653, "AFS"],
  [0x73757245, "Coda"],
  [0x564c, "NCP"],
  [0x01021997, "9P"],
  [0x00c36400, "Ceph"],
]);

/** The network file system's name, or null. `type` is that of `statfs` on Linux. */
export function networkFileSystem(type: number): string | null {
  return NETWORK.get(type >>> 0) ?? null;
}

export type Found = "missing" | "empty" | "there";

/**
 * What lies at the path, if a store may be there.
 * @throws Fault `store` with what is wrong with the place.
 */
export function inspectPlace(path: string): Found {
  const directory = dirname(path);
  const folder = lstat(directory);
  if (folder === null) throw new Fault("store", `the directory of ${path} does not exist`);
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new Fault("store", `the directory of ${path} is not writable: ${codeOf(error)}`, { cause: error });
  }
  const network = process.platform === "linux" ? networkFileSystem(statfsSync(directory).type) : null;
  if (network !== null) throw new Fault("store", `${path} is on ${network}: SQLite loses data there; use a local disk`);
  for (const side of ["-wal", "-shm", "-open", "-pid"]) {
    if (lstat(path + side)?.isSymbolicLink() === true)
      throw new Fault("store", `${basename(path + side)} is a symbolic link; a store lies where its name is`);
  }
  const file = lstat(path);
  if (file === null) return "missing";
  if (file.isSymbolicLink()) throw new Fault("store", `${path} is a symbolic link; give the file itself`);
  if (!file.isFile()) throw new Fault("store", `${path} is not a file`);
  if (file.nlink > 1)
    throw new Fault("store", `${path} has a second name (a hard link), under which SQLite would not find its log`);
  // Asked for by mode as well: the superuser passes every access check.
  if ((file.mode & 0o200) === 0) throw new Fault("store", `${path} is read-only`);
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new Fault("store", `${path} cannot be read and written: ${codeOf(error)}`, { cause: error });
  }
  return file.size === 0 ? "empty" : "there";
}

/** Makes the file if there is none, for its owner alone; SQLite gives its log and shared memory the same mode. */
export function createPrivate(path: string): void {
  try {
    closeSync(
      openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR | (constants.O_NOFOLLOW ?? 0), 0o600),
    );
  } catch (error) {
    if (codeOf(error) !== "EEXIST")
      throw new Fault("store", `${path} cannot be made: ${codeOf(error)}`, { retryable: true, cause: error });
  }
}

/** Takes others' rights to the files of a store away. */
export function makePrivate(path: string): void {
  for (const each of [path, `${path}-wal`, `${path}-shm`]) {
    const file = lstat(each);
    if (file !== null && (file.mode & 0o077) !== 0) chmodSync(each, 0o600);
  }
}

export function isOpenToOthers(path: string): boolean {
  return ((lstat(path)?.mode ?? 0) & 0o077) !== 0;
}

export function lstat(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" ? code : messageOf(error);
}
