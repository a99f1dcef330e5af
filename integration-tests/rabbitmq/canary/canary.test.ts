import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type SharedRabbit, sharedRabbit } from "../../brokers/vitest/shared.ts";

const PASSWORD = "canary-pass/ß%";
const HEADER = "canary-in-a-header";
const BODY = "canary-in-a-body";
const USER = "canary-user";

let rabbit: SharedRabbit;
let folder: string;
beforeAll(async () => {
  rabbit = await sharedRabbit();
  folder = mkdtempSync(join(tmpdir(), "tally-canary-"));
  // As bytes: the container's shell has no UTF-8.
  const bytes = [...Buffer.from(PASSWORD)].join();
  await rabbit.admin.ctl(
    "eval",
    `ok = rabbit_auth_backend_internal:add_user(<<"${USER}">>, <<${bytes}>>, <<"test">>).`,
  );
  await rabbit.admin.ctl("set_permissions", "--vhost", rabbit.vhost, USER, ".*", ".*", ".*");
});
afterAll(async () => {
  await rabbit.admin.ctl("delete_user", USER);
  await rabbit.stop();
  rmSync(folder, { recursive: true, force: true });
});

it("security: a process shows no password, header or body on stdout or stderr, whatever fails, not even as it dies", async () => {
  const { host } = new URL(rabbit.url);
  const { code, output } = await run({
    HOST: host,
    VHOST: rabbit.vhost,
    LOGIN: `${USER}:${encodeURIComponent(PASSWORD)}`,
    HEADER,
    BODY,
    FOLDER: folder,
  });
  // It went where it was meant to go, to its bad end.
  for (const seen of [
    "ACCESS_REFUSED",
    "does not speak TLS",
    "virtual host",
    "ECONNREFUSED",
    "unencrypted",
    "[unroutable]",
    "[bad-message]",
    "[too-large]",
    "dead-lettered",
    "== the end",
  ])
    expect(output).toContain(seen);
  expect(output.slice(output.indexOf("== the end"))).toMatch(/unhandled[^]*|throw|TallyError: \[unroutable\]/i);
  expect(code).toBe(1);
  for (const canary of [PASSWORD, HEADER, BODY]) {
    const hex = Buffer.from(canary).toString("hex");
    for (const spelling of [canary, encodeURIComponent(canary), encodeURI(canary), hex, hex.replace(/..(?!$)/g, "$& ")])
      expect(output.includes(spelling), `${spelling}: …${around(output, spelling)}…`).toBe(false);
  }
});

function run(
  env: Readonly<Record<string, string>>,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "talkative.ts")], {
    env: { PATH: process.env["PATH"] ?? "", NODE_DEBUG: "net,tls", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (part: string) => void (output += part));
  return new Promise((resolve, reject) => {
    child.on("error", reject).on("close", (code) => resolve({ code, output }));
  });
}

function around(text: string, spelling: string): string {
  const found = text.indexOf(spelling);
  return text.slice(Math.max(0, found - 300), found + 100);
}
