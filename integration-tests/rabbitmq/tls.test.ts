import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { inspect } from "node:util";
import { openTally, topic, type TallyEvent } from "@tallymq/core";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { sqlite } from "@tallymq/store-sqlite";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { authority, type Identity, type RabbitNode, startRabbit, startTlsFront } from "../brokers/index.ts";

// Made here, in memory, for some hours; no key is ever in a file of ours.
const ours = authority("ours");
const theirs = authority("theirs");
const PASSPHRASE = "open-sesame";
const client = { ...ours.issue({ name: "shop", passphrase: PASSPHRASE }), passphrase: PASSPHRASE };
const HOSTS = ["127.0.0.1", "localhost"];

let node: RabbitNode;
let names = 0;

beforeAll(async () => {
  const identity = ours.issue({ name: "broker", hosts: HOSTS });
  node = await startRabbit({ tls: { identity, clientsOf: ours.cert } });
});
afterAll(() => node.stop());

/** What opening says: null, the refusal, or the first failed try when waiting might mend it. */
async function opened(url: string, options?: RabbitOptions["tls"]): Promise<Error | null> {
  const failed: Error[] = [];
  const onEvent = (event: TallyEvent): void => void (event.type === "reconnect" && failed.push(event.error));
  const broker = rabbitmq({ urls: [url], ...(options === undefined ? {} : { tls: options }) });
  try {
    await using tally = await openTally({ service: "shop", broker, onEvent });
    if (failed.length === 0 && (await tally.health()).status === "ok") return null;
    return failed[0] ?? null;
  } catch (thrown) {
    return thrown as Error;
  }
}

const at = (port: number, scheme = "amqps"): string => `${scheme}://guest:guest@127.0.0.1:${port}`;

describe("security: certificates of both sides are checked", () => {
  it("a broker of our own CA, and a client certificate with an encrypted key: messages go both ways", async () => {
    const orders = topic<{ n: number }>(`tls-${++names}`, { groups: ["billing"] });
    await using tally = await openTally({
      service: "shop",
      broker: rabbitmq({ urls: [at(node.tlsPort)], tls: { ca: ours.cert, ...client } }),
    });
    const got = Promise.withResolvers<{ n: number }>();
    await using _billing = await tally
      .consumer("billing")
      .on(orders, (order) => Promise.resolve(got.resolve(order)))
      .start();
    expect(await tally.publish(orders, { n: 1 })).toMatchObject({ state: "confirmed" });
    expect(await got.promise).toEqual({ n: 1 });
    const sockets = await node.admin.ctl("list_connections", "ssl", "peer_cert_subject", "ssl_protocol");
    expect(sockets).toMatch(/true\s+CN=shop\s+tlsv1\.3/);
  });

  const other = (plan: Parameters<typeof ours.issue>[0]): Identity => theirs.issue(plan);
  it.each<[string, () => NonNullable<RabbitOptions["tls"]>, RegExp]>([
    [
      "no client certificate",
      () => ({ ca: ours.cert }),
      /refused the TLS handshake: .*certificate required; .*tls\.cert/,
    ],
    [
      "a client certificate of another CA",
      () => ({ ca: ours.cert, ...other({ name: "x" }) }),
      /unknown ca; .*tls\.cert/,
    ],
    [
      "an expired client certificate",
      () => ({ ca: ours.cert, ...ours.issue({ name: "x", from: -9, until: -1 }) }),
      /refused the TLS handshake: .*certificate expired/,
    ],
    ["nobody of ours trusted", () => ({ ...client }), /certificate is refused: self-signed .*; tls\.ca/],
    [
      "a broker of another CA",
      () => ({ ...client, ca: theirs.cert }),
      /certificate is refused: self-signed .*; tls\.ca/,
    ],
  ])("%s: refused, and it says why", async (_what, options, words) => {
    const error = await opened(at(node.tlsPort), options());
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
    expect(error!.message).toMatch(words);
    expect(error!.message).toContain(`amqps://127.0.0.1:${node.tlsPort}/: `);
    unseen(error, options().key);
  });

  it("a wrong pass phrase is told from a wrong certificate, and shown nowhere", async () => {
    const error = await opened(at(node.tlsPort), { ca: ours.cert, ...client, passphrase: "close-sesame" });
    // In one of 256 the padding happens to be right, and what is no key is found by its content.
    expect(error).toMatchObject({ code: "bad-config" });
    expect(error!.message).toContain("tls cannot be used as it is given: ");
    expect(inspect(error, { depth: 9 })).not.toContain("close-sesame");
    unseen(error, client.key);
  });

  it.each<[string, () => Identity, RegExp]>([
    [
      "expired",
      () => ours.issue({ name: "b", hosts: HOSTS, from: -9, until: -1 }),
      /certificate is refused: certificate has expired/,
    ],
    ["not valid yet", () => ours.issue({ name: "b", hosts: HOSTS, from: 1 }), /not yet valid/],
    ["of another host", () => ours.issue({ name: "b", hosts: ["mq.example"] }), /altnames.*; tls\.servername/],
    ["of another CA, without its chain", () => other({ name: "b", hosts: HOSTS }), /unable to verify .*; tls\.ca/],
  ])("a broker whose certificate is %s: refused, and it says why", async (_what, identity, words) => {
    await using front = await startTlsFront(node.port, identity());
    const error = await opened(at(front.port), { ca: ours.cert });
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
    expect(error!.message).toMatch(words);
    unseen(error);
  });

  it("another host's certificate is taken where servername says so", async () => {
    await using front = await startTlsFront(node.port, ours.issue({ name: "b", hosts: ["mq.example"] }));
    expect(await opened(at(front.port), { ca: ours.cert, servername: "mq.example" })).toBeNull();
  });

  it("NODE_TLS_REJECT_UNAUTHORIZED=0 switches nothing off", async () => {
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    try {
      await using front = await startTlsFront(node.port, theirs.issue({ name: "b", hosts: HOSTS }));
      for (const options of [{ ca: ours.cert }, undefined])
        expect(await opened(at(front.port), options)).toMatchObject({ code: "unauthorized" });
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

describe("security: TLS is 1.2 at least", () => {
  // As `node --tls-min-v1.0 --tls-cipher-list=ALL@SECLEVEL=0` has them: what this process would speak by itself.
  const [version, ciphers] = [tls.DEFAULT_MIN_VERSION, tls.DEFAULT_CIPHERS];
  beforeAll(() => void Object.assign(tls, { DEFAULT_MIN_VERSION: "TLSv1", DEFAULT_CIPHERS: "ALL@SECLEVEL=0" }));
  afterAll(() => void Object.assign(tls, { DEFAULT_MIN_VERSION: version, DEFAULT_CIPHERS: ciphers }));

  it.each(["TLSv1", "TLSv1.1"] as const)("a broker that speaks %s at best is refused", async (newest) => {
    await using front = await startTlsFront(node.port, ours.issue({ name: "b", hosts: HOSTS }), { newest });
    const error = await opened(at(front.port), { ca: ours.cert });
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
    expect(error!.message).toMatch(/refused the TLS handshake: .*protocol version/);
  });

  it("one that speaks 1.2 is not", async () => {
    await using front = await startTlsFront(node.port, ours.issue({ name: "b", hosts: HOSTS }), { newest: "TLSv1.2" });
    expect(await opened(at(front.port), { ca: ours.cert })).toBeNull();
  });
});

describe("TLS and no TLS, mixed up", () => {
  it("amqp:// at a port for TLS: unreachable, and it says what to look at", async () => {
    const error = await opened(at(node.tlsPort, "amqp"));
    expect(error).toMatchObject({ code: "unreachable", retryable: true });
    expect(error!.message).toContain("if this port is for TLS, write amqps://");
    unseen(error);
  });

  it("amqps:// at a plain port: waiting cannot mend it", async () => {
    const error = await opened(at(node.port), { ca: ours.cert });
    expect(error).toMatchObject({ code: "bad-config", retryable: false });
    expect(error!.message).toContain("this port does not speak TLS");
    unseen(error);
  });
});

it("security: wrong CA, expired, wrong host: refused, and the outbox keeps", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tally-tls-"));
  const good = ours.issue({ name: "b", hosts: HOSTS });
  await using front = await startTlsFront(node.port, good);
  const orders = topic<{ n: number }>(`tls-${++names}`, { groups: ["billing"] });
  const errors: Error[] = [];
  const got: number[] = [];
  try {
    await using tally = await openTally({
      service: "shop",
      broker: rabbitmq({ urls: [at(front.port)], tls: { ca: ours.cert } }),
      outbox: sqlite(join(folder, "outbox.db")),
      spill: { after: "50ms" },
      reconnect: { max: "200ms" },
      onEvent: (event) => void (event.type === "reconnect" && errors.push(event.error)),
    });
    await using _billing = await tally
      .consumer("billing")
      .on(orders, ({ n }) => Promise.resolve(void got.push(n)))
      .start();
    expect(await tally.publish(orders, { n: 0 })).toMatchObject({ state: "confirmed" });
    for (const [n, bad, words] of [
      [1, theirs.issue({ name: "b", hosts: HOSTS }), "unable to verify"],
      [2, ours.issue({ name: "b", hosts: HOSTS, from: -9, until: -1 }), "has expired"],
      [3, ours.issue({ name: "b", hosts: ["mq.example"] }), "altnames"],
    ] as const) {
      await front.show(bad);
      await expect.poll(() => errors.some((error) => error.message.includes(words))).toBe(true);
      expect(await tally.publish(orders, { n })).toMatchObject({ state: "stored" });
    }
    await front.show(good);
    await expect.poll(() => new Set(got).size).toBe(4);
    for (const error of errors) unseen(error);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Neither the password nor a line of the key. */
function unseen(error: unknown, key?: string | Uint8Array): void {
  const shown = inspect(error, { depth: 9, showHidden: true });
  for (const secret of ["guest:", ":guest", PASSPHRASE]) expect(shown).not.toContain(secret);
  const lines = String(key ?? "")
    .split("\n")
    .filter((line) => line.length > 20 && !line.startsWith("-"));
  for (const line of lines) expect(shown).not.toContain(line);
}
