import { filesBelow } from "./files.ts";

/** Test files, this room's own apart: a list of titles is no test. */
const tests = ["packages", "integration-tests", "examples", "bench"]
  .flatMap((folder) => filesBelow(folder, /\.test\.ts$/))
  .filter(({ path }) => !path.startsWith("integration-tests/house/"))
  .map(({ text }) => text)
  .join("\n");

/** The titles that no `describe`, `it` or `test` has, word for word. */
export function untested(titles: readonly string[]): readonly string[] {
  return titles.filter((title) => !['"', "'", "`"].some((quote) => isTitle(quote + title + quote)));
}

/** It is the first argument of a call, alone or after a table of `each`; not just any text. */
function isTitle(quoted: string): boolean {
  for (let at = tests.indexOf(quoted); at !== -1; at = tests.indexOf(quoted, at + 1))
    if (/(?:\b(?:it|test|describe)|\)|>)\(\s*$/.test(tests.slice(Math.max(0, at - 80), at))) return true;
  return false;
}
