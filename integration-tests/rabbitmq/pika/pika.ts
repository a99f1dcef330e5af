import { fileURLToPath } from "node:url";
import { must, run } from "../../brokers/engine/command.ts";
import { install } from "../../brokers/engine/packages.ts";
import { toStderr } from "../../brokers/engine/progress.ts";

// Debian's own Python: another one that stands first on PATH does not see Debian's packages.
const PYTHON = "/usr/bin/python3";
const CLIENT = fileURLToPath(new URL("client.py", import.meta.url));

/** A message as pika shows it; `bytes` in base64, inflated if it came as gzip. */
export interface PikaMessage {
  readonly content_type: string | null;
  readonly content_encoding: string | null;
  readonly delivery_mode: number | null;
  readonly correlation_id: string | null;
  readonly message_id: string | null;
  readonly timestamp: number | null;
  readonly type: string | null;
  readonly app_id: string | null;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly bytes: string;
}

/** Python's pika, from Debian's packages, installed once where it is missing. @throws where nothing can be installed */
export async function ensurePika(): Promise<void> {
  const there = await run(PYTHON, ["-c", "import pika"]).catch(() => null);
  if (there?.code !== 0)
    await install(["python3-pika"], "install it (a package of Debian), or run this as root", toStderr);
}

/** Publishes its messages to an exchange, with confirms. */
export async function publishByPika(url: string, exchange: string): Promise<void> {
  await must(PYTHON, [CLIENT, "publish", url, exchange]);
}

/** Reads and acks so many messages of a queue. */
export async function readByPika(url: string, queue: string, count: number): Promise<readonly PikaMessage[]> {
  const output = await must(PYTHON, [CLIENT, "read", url, queue, String(count)]);
  return output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as PikaMessage);
}
