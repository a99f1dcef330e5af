import { inspect } from "node:util";
import { openTally, type TallyEvent, topic } from "@tallymq/core";
import { rocketmq, type RocketOptions } from "@tallymq/rocketmq";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../brokers/engine/port.ts";
import { authority, type RocketNode, startRocket } from "../brokers/index.ts";

// Made here, in memory, for some hours.
const ours = authority("ours");
const theirs = authority("theirs");
const SECRET = "canary-4711-s3cret";
const credentials = { accessKey: "shop", secretKey: SECRET };
const tls = { ca: ours.cert };

let node: RocketNode;
let names = 0;

beforeAll(async () => {
  const identity = ours.issue({ name: "proxy", hosts: ["127.0.0.1", "localhost"] });
  node = await startRocket({ secure: { identity, ca: ours.cert, ...credentials } });
});
afterAll(() => node.stop());

function options(more: Partial<RocketOptions> = {}): RocketOptions {
  return { endpoints: [node.direct], names: [node.names], tls, credentials, receiveWait: "1s", ...more };
}

/** What opening says: null, the refusal, or the first failed try when waiting might mend it. */
async function opened(given: RocketOptions): Promise<Error | null> {
  const failed: Error[] = [];
  const onEvent = (event: TallyEvent): void => void (event.type === "reconnect" && failed.push(event.error));
  try {
    await using tally = await openTally({ service: "shop", broker: rocketmq(given), onEvent });
    if (failed.length === 0 && (await tally.health()).status === "ok") return null;
    return failed[0] ?? null;
  } catch (thrown) {
    return thrown as Error;
  }
}

/** A message goes there and comes back. */
async function bothWays(given: RocketOptions): Promise<void> {
  const orders = topic<{ readonly n: number }>(`secure-${++names}`, { groups: ["billing"] });
  await using tally = await openTally({ service: "shop", broker: rocketmq(given), topics: [orders] });
  const got = Promise.withResolvers<{ readonly n: number }>();
  await using _billing = await tally
    .consumer("billing")
    .on(orders, async (order) => got.resolve(order))
    .start();
  expect(await tally.publish(orders, { n: names })).toMatchObject({ state: "confirmed" });
  expect(await got.promise).toEqual({ n: names });
}

describe("TLS with a certificate authority of one's own, and credentials", () => {
  it("messages go both ways, to a topic and a group that were made over the signed admin protocol", async () => {
    await bothWays(options());
  });

  it("a proxy is known by the name that is given", async () => {
    await bothWays(options({ tls: { ...tls, servername: "localhost" } }));
    const error = await opened(options({ tls: { ...tls, servername: "elsewhere.example" } }));
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
  });

  it.each([
    ["signed by somebody else", () => ({ ca: theirs.cert })],
    ["signed by nobody that Node knows", () => ({})],
  ])("a proxy whose certificate is %s is refused for good", async (_, wrong) => {
    const error = await opened(options({ tls: wrong() }));
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
  });

  it("certificate and key of the client that do not match are refused for good, without the key", async () => {
    const [one, other] = [ours.issue({ name: "one" }), ours.issue({ name: "other" })];
    const error = await opened(options({ tls: { ...tls, cert: one.cert, key: other.key } }));
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
    expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(other.key.split("\n")[1]);
  });

  it("without TLS nobody gets in", async () => {
    const { tls: _, ...plain } = options();
    expect(await opened(plain)).toBeInstanceOf(Error);
  });

  it.each([
    ["a wrong secret", { accessKey: "shop", secretKey: `${SECRET}-wrong` }],
    ["an unknown user", { accessKey: "nobody", secretKey: SECRET }],
  ])("%s is refused for good, and is in no error", async (_, wrong) => {
    const error = await opened(options({ credentials: wrong }));
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
    expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(SECRET);
  });

  it("without credentials nobody gets in", async () => {
    const { credentials: _, ...nameless } = options();
    expect(await opened(nameless)).toMatchObject({ code: "unauthorized", retryable: false });
  });
});

describe("several endpoints", () => {
  it("where one is dead, sessions find the other", async () => {
    await bothWays(options({ endpoints: [`127.0.0.1:${await freePort()}`, node.direct] }));
  });
});

describe("namespaces, as prefixes", () => {
  it("two services have topics of one name, and neither sees the other's messages", async () => {
    const orders = topic<{ readonly from: string }>(`orders-${++names}`, { groups: ["billing"] });
    const open = async (prefix: string) => {
      const tally = await openTally({ service: "shop", broker: rocketmq(options({ prefix })), topics: [orders] });
      const got: string[] = [];
      await tally
        .consumer("billing")
        .on(orders, async ({ from }) => void got.push(from))
        .start();
      return { tally, got, prefix };
    };
    const shops = [await open("eu-"), await open("us-")];
    for (const { tally, prefix } of shops) await tally.publish(orders, { from: prefix });
    await expect.poll(() => shops.map(({ got }) => got)).toEqual([["eu-"], ["us-"]]);
    for (const { tally } of shops) await tally.close({ within: "5s" });
  });
});

describe("the audit", () => {
  const shown = async (given: RocketOptions): Promise<readonly string[]> => {
    const orders = topic<{ readonly n: number }>("audited", { groups: ["billing"] });
    await using tally = await openTally({ service: "shop", broker: rocketmq(given), topics: [orders] });
    const { findings } = await tally.audit();
    expect(JSON.stringify(findings)).not.toContain(SECRET);
    return findings.map(({ check, severity, what }) => `${check} ${severity} ${what}`);
  };

  it("says of a real broker what it keeps and what not", async () => {
    expect(await shown(options())).toEqual([
      'disk-full warning broker "broker-a"',
      'replicas info broker "broker-a"',
      'transaction-checks info broker "broker-a"',
    ]);
  });

  it("says unverifiable where the ports are closed", async () => {
    await shown(options());
    const { names: _, ...closed } = options({ topics: { audited: { declare: false } } });
    const findings = await shown(closed);
    expect(findings).toContain("flush info rocketmq");
    expect(findings.every((each) => each.includes(" info "))).toBe(true);
  });
});
