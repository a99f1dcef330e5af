import { createHash } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { SQLITE, sqliteCode } from "../fault.ts";
import { createPrivate, lstat } from "../file/place.ts";

interface Held {
  readonly path: string;
  readonly inode: number;
  readonly side: DatabaseSync;
}

/**
 * The right to relay to some destinations: an exclusive lock on a file at the store's side for each of them. The system
 * ends it with its process, so that the next one has it at once after a kill.
 */
export class RelayLock {
  readonly #files: readonly Held[];

  private constructor(files: readonly Held[]) {
    this.#files = files;
  }

  /** Null: another process (or another store of this one) has at least one of them. */
  static try(path: string, destinations: readonly string[]): RelayLock | null {
    const held: Held[] = [];
    // Sorted, all or none: two processes that share some destinations cannot wait for each other.
    for (const destination of [...destinations].sort()) {
      const name = `${path}-relay-${createHash("sha256").update(destination).digest("hex").slice(0, 12)}`;
      createPrivate(name);
      const side = new DatabaseSync(name, { timeout: 0 });
      try {
        side.exec("BEGIN EXCLUSIVE");
      } catch (error) {
        side.close();
        for (const each of held) each.side.close();
        if (sqliteCode(error) === SQLITE.busy) return null;
        throw error;
      }
      held.push({ path: name, inode: lstat(name)?.ino ?? 0, side });
    }
    return new RelayLock(held);
  }

  /** False: a file was deleted or replaced; whoever makes a new one has a lock as well. */
  holds(): boolean {
    return this.#files.every(({ path, inode }) => lstat(path)?.ino === inode);
  }

  release(): void {
    for (const { side } of this.#files) side.close();
  }
}
