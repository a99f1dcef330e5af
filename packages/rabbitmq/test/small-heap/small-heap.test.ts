import { spawn } from "node:child_process";
import { join } from "node:path";
import { scriptedAmqp } from "@tallymq/testkit/amqp-server";
import { describe, expect, it } from "vitest";

/** Sixteen MiB of JSON: as values of a heap four times that, at least. */
const large = Buffer.from(`[${"1,".repeat(8 * 1024 * 1024 - 2)}1]`);
/** Half a MiB of brackets. */
const deep = Buffer.from("[".repeat(512 * 1024));

describe("security: caps of size and depth hold under --max-old-space-size=64", () => {
  it("what is larger than its topic takes, or nested deeper, becomes a dead letter as bytes, and the next message is handled", async () => {
    const bodies = [large, deep, large, deep, Buffer.from('{"n":1}')];
    await using server = await scriptedAmqp({
      onConsume({ tag, queue }, channel) {
        if (queue !== "orders.billing") return;
        bodies.forEach((body, i) =>
          channel.deliver({
            consumerTag: tag,
            properties: { messageId: `m${i}`, appId: "shop", contentType: "application/json" },
            body,
          }),
        );
      },
    });
    const { code, output } = await run({ URL: server.url, MAX_BYTES: String(1024 * 1024), LETTERS: "4" });
    expect([code, output]).toEqual([0, '{"order":{"n":1},"letters":4}\n']);
    // The rest says hello to the group's members.
    const letters = server.publishes.filter(({ exchange }) => exchange.endsWith(".dead-letters"));
    const sizes = (all: readonly { readonly length: number }[]): readonly number[] =>
      all.map(({ length }) => length).toSorted((a, b) => a - b);
    expect(sizes(letters.map(({ body }) => body))).toEqual(sizes(bodies.slice(0, 4)));
  });
});

function run(
  env: Readonly<Record<string, string>>,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(process.execPath, ["--max-old-space-size=64", join(import.meta.dirname, "consumer.ts")], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => void (output += part));
  return new Promise((resolve, reject) => child.on("error", reject).on("close", (code) => resolve({ code, output })));
}
