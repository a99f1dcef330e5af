// What the project says of security, sentence by sentence as one table. Every row is a test of that title, in its room.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { filesBelow, root } from "./files.ts";
import { untested } from "./titles.ts";

const SAID: Readonly<Record<string, readonly string[]>> = {
  "TLS is verified by default, mTLS, 1.2 at least; refused otherwise, and the outbox keeps": [
    "security: certificates of both sides are checked",
    "security: TLS is 1.2 at least",
    "security: wrong CA, expired, wrong host: refused, and the outbox keeps",
    "certificate and key don't match: fail at start, no key in the message",
  ],
  "passwords only over TLS unless allowed explicitly": [
    "security: passwords go over TLS only, unless allowed explicitly",
  ],
  "a canary in URL, headers and body never shows": [
    "security: a canary in URL, headers and body never shows",
    "security: a process shows no password, header or body on stdout or stderr, whatever fails, not even as it dies",
  ],
  "caps hold in a small heap": ["security: caps of size and depth hold under --max-old-space-size=64"],
  "files are their owner's, sockets this machine's": [
    "store files are for their owner alone, whatever the umask, also when they were open to others",
    "makes its socket, directory and files for their owner only",
    "listens on loopback and unix sockets only",
  ],
  "no prototype is polluted": [
    "received `__proto__` / `constructor` header: null-prototype copy, no pollution",
    "configuration with `__proto__`: rejected",
  ],
  "every parser is fuzzed: headers and envelope, configuration, store, frames, ledger": [
    "security: every parser is fuzzed",
    "fuzz: whatever bytes lie there, opening ends with a store or a typed error, and never hangs or crashes",
    "4 GiB frame header, random frame bytes: refused, connection closed, no crash",
    "outlives mutated streams of a good client",
    "whatever a file holds",
  ],
  "packages hold what is built and run nothing": [
    "holds what is built, and only that",
    "runs no script at install and points at no workspace",
  ],
  // Pages, and a workflow that releases, are not there yet.
};

describe("every sentence on security is a test", () => {
  it.each(Object.entries(SAID))("%s", (_sentence, titles) => {
    expect(untested(titles)).toEqual([]);
  });
});

it("dependencies are locked, and installed as locked", () => {
  expect(existsSync(join(root, "pnpm-lock.yaml"))).toBe(true);
  expect(readFileSync(join(root, ".ci/with-setup.mjs"), "utf8")).toContain("--frozen-lockfile");
});

it("no private key is in the repository: tests make theirs when they run", () => {
  const key = /-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{20}/;
  const found = ["packages", "integration-tests", "examples", "bench", "docs"].flatMap((folder) =>
    filesBelow(folder, /./).filter(({ path, text }) => key.test(text) || /\.(?:pem|key|p12|pfx)$/.test(path)),
  );
  expect(found.map(({ path }) => path)).toEqual([]);
});
