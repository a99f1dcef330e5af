import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { Management } from "../../src/audit/management.ts";
import { resolveRabbit } from "../../src/options.ts";
import { thrownBy } from "../refused.ts";
import { signal } from "../stage.ts";

const SECRET = "p4ssw0rd-of-the-auditor";
let server: Server | null = null;

afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => (server === null ? resolve(null) : server.close(resolve)));
  server = null;
});

async function api(listener: RequestListener): Promise<Management> {
  const made = createServer(listener);
  server = made;
  await new Promise<void>((resolve) => made.listen(0, "127.0.0.1", resolve));
  const { port } = made.address() as AddressInfo;
  const url = `http://auditor:${SECRET}@127.0.0.1:${port}/`;
  return new Management(resolveRabbit({ urls: ["amqp://localhost"], management: { url } }).management!);
}

async function refusal(management: Management, within = 5_000): Promise<{ code: string; text: string }> {
  const error = await management.get("/nodes?columns=name", signal(within)).then(
    () => null,
    (e: unknown) => e as Error & { code: string; cause?: unknown },
  );
  expect(error).not.toBeNull();
  const text = `${error!.stack} ${String(error!.cause)} ${JSON.stringify(error)}`;
  expect(text).not.toContain(SECRET);
  expect(text).not.toContain(Buffer.from(`auditor:${SECRET}`).toString("base64"));
  return { code: error!.code, text: error!.message };
}

describe("the management API", () => {
  it("is asked with the credentials of its URL, and answers", async () => {
    const asked: unknown[] = [];
    const management = await api((request, response) => {
      asked.push([request.method, request.url, request.headers.authorization]);
      response.end('[{"name":"rabbit@a"}]');
    });
    expect(await management.get("/nodes?columns=name", signal())).toEqual([{ name: "rabbit@a" }]);
    const basic = `Basic ${Buffer.from(`auditor:${SECRET}`).toString("base64")}`;
    expect(asked).toEqual([["GET", "/api/nodes?columns=name", basic]]);
  });

  it("404 is: there is no such thing", async () => {
    const management = await api((_request, response) => void response.writeHead(404).end("{}"));
    expect(await management.get("/queues/a/b", signal())).toBeNull();
  });

  it.each([
    ["401", (response) => response.writeHead(401).end(), "unauthorized", "answers 401 to /nodes"],
    ["500", (response) => response.writeHead(500).end("boom"), "unreachable", "answers 500 to /nodes"],
    [
      "no JSON",
      (response) => response.end("<html>"),
      "unreachable",
      "does not answer as RabbitMQ's management API does",
    ],
    ["a redirect", (response) => response.writeHead(302, { location: "http://127.0.0.1:9/" }).end(), "unreachable", ""],
    ["no answer", (response) => response.socket?.destroy(), "unreachable", ""],
  ] as readonly (readonly [string, (response: Parameters<RequestListener>[1]) => void, string, string])[])(
    "%s is a typed error without a secret",
    async (_name, answer, code, words) => {
      const got = await refusal(await api((_request, response) => answer(response)));
      expect(got.code).toBe(code);
      expect(got.text).toContain(words);
    },
  );

  it("an answer without an end is given up at 4 MiB", async () => {
    const piece = Buffer.alloc(256 * 1024, 32);
    let written = 0;
    const management = await api((_request, response) => {
      const more = (): void => {
        for (let go = true; go && !response.destroyed; written += piece.length) go = response.write(piece);
      };
      response.on("drain", more);
      more();
    });
    expect(await refusal(management)).toMatchObject({
      text: expect.stringContaining("more than 4194304 bytes") as string,
    });
    expect(written).toBeLessThan(64 * 1024 * 1024);
  });

  it("one that never answers ends with its signal", async () => {
    const management = await api(() => {});
    const end = new AbortController();
    const asking = management.get("/nodes", end.signal).catch((e: unknown) => e);
    const why = new Error("time is up");
    end.abort(why);
    expect(await asking).toBe(why);
  });
});

describe("management: its URL", () => {
  it.each([
    ["not one", `://auditor:${SECRET}@h`, /must be a URL like http/],
    ["of another scheme", `amqp://auditor:${SECRET}@h`, /must be a URL like http/],
    ["without credentials", "http://h:15672", /must have credentials/],
    ["a bare percent sign", "http://u:50%25%@h:15672", /followed by two hexadecimal digits/],
    ["with a query", `https://auditor:${SECRET}@h/?a=b`, /without \? and #/],
    ["that sends its password in the clear", `http://auditor:${SECRET}@h:15672`, /unencrypted to h: write https:/],
  ])("%s is refused, and not quoted", (_name, url, words) => {
    const error = thrownBy(() => rabbitmq({ urls: ["amqp://localhost"], management: { url } } as RabbitOptions));
    expect(error.code).toBe("bad-config");
    expect(error.message).toMatch(words);
    expect(error.message).not.toContain(SECRET);
  });
});
