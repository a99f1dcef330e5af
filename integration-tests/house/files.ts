// The files of this repository, read from the disk: the laws hold in a copy without git as well.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

export const root: string = dirname(dirname(import.meta.dirname));

const NOT_OURS = new Set(["node_modules", "dist", ".git", ".tally", "coverage", ".DS_Store"]);

export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** Text files below a folder of the repository, with paths as they stand from its top. */
export function filesBelow(folder: string, ending: RegExp): readonly SourceFile[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (NOT_OURS.has(entry.name)) return [];
    if (entry.isDirectory()) return filesBelow(path, ending);
    if (!entry.isFile() || !ending.test(entry.name)) return [];
    return [{ path: relative(".", path), text: readFileSync(join(root, path), "utf8") }];
  });
}
