import { inspect } from "node:util";
import { openTally, type Tally, type TallyEvent, type Topic, topic } from "@tallymq/core";
import { type Credentials, rabbitmq } from "@tallymq/rabbitmq";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RabbitNode } from "../brokers/index.ts";
import { TokenIssuer } from "./oauth.ts";

const issuer = new TokenIssuer();
let node: RabbitNode;
let names = 0;
beforeAll(async () => void (node = await issuer.broker()));
afterAll(() => node.stop());

/** A tally that publishes and consumes with tokens of a few seconds, and what happened to it. */
class Tokens implements AsyncDisposable {
  readonly events: TallyEvent[] = [];
  readonly given: string[] = [];
  readonly got = new Set<number>();
  readonly orders: Topic<{ readonly n: number }> = topic<{ readonly n: number }>(`tokens-${++names}`, {
    groups: ["billing"],
  });
  /** Instead of a good token. */
  instead: (() => Credentials) | null = null;
  tally!: Tally;
  #published = 0;

  static async open(): Promise<Tokens> {
    const tokens = new Tokens();
    const credentials = (): Credentials => {
      const { password, ...rest } = tokens.instead?.() ?? { password: issuer.issue(60), expiresIn: "2500ms" };
      tokens.given.push(password);
      return { password, ...rest };
    };
    tokens.tally = await openTally({
      service: "shop",
      broker: rabbitmq({ urls: [`amqp://127.0.0.1:${node.port}`], credentials }),
      reconnect: { max: "300ms" },
      onEvent: (event) => void tokens.events.push(event),
    });
    await tokens.tally
      .consumer("billing")
      .on(tokens.orders, ({ n }) => Promise.resolve(void tokens.got.add(n)))
      .start();
    return tokens;
  }

  async publish(): Promise<void> {
    const n = ++this.#published;
    await this.tally.publish(this.orders, { n }, { deadline: "60s" });
  }

  count(type: TallyEvent["type"]): number {
    return this.events.filter((event) => event.type === type).length;
  }

  /** Everything published was consumed, and no token stands in any event. */
  async settled(): Promise<void> {
    await expect.poll(() => this.got.size).toBe(this.#published);
    const shown = inspect(this.events, { depth: 12 });
    for (const token of this.given) expect(shown).not.toContain(token);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tally.close();
  }
}

describe("OAuth 2 tokens", () => {
  it("are renewed over the open connections, by update-secret: nothing is interrupted", async () => {
    await using tokens = await Tokens.open();
    // Two for the two connections, and two for each renewal of both.
    while (tokens.given.length < 6) await tokens.publish();
    await tokens.settled();
    expect(tokens.count("session-opened")).toBe(2);
    expect(tokens.count("session-lost")).toBe(0);
    const told = (await node.logs()).match(/shop \((publishing|consuming)\): user 'shop' updated secret/g) ?? [];
    expect(new Set(told).size).toBe(2);
  });

  it("that cannot be got: surfaced, and at the end the connections are closed; with the next token all goes on", async () => {
    await using tokens = await Tokens.open();
    await tokens.publish();
    tokens.instead = () => {
      throw new Error("the token server is away");
    };
    await expect.poll(() => tokens.count("session-lost")).toBe(2);
    expect(tokens.events).toContainEqual(
      expect.objectContaining({
        type: "surfaced",
        text: expect.stringMatching(/not renewed \(try 1; they run out in [01] s\)/) as string,
      }),
    );
    expect(tokens.events.find((event) => event.type === "session-lost")).toMatchObject({
      error: { code: "unauthorized", retryable: true },
    });
    const waits = tokens.publish();
    tokens.instead = null;
    await waits;
    await tokens.settled();
  });

  it("that the broker refuses when they are renewed: lost, asked anew, and what was published meanwhile arrives", async () => {
    await using tokens = await Tokens.open();
    await tokens.publish();
    // (4.0 takes one that has run out, if it is signed.)
    tokens.instead = () => ({ password: "no-token-at-all", expiresIn: "2500ms" });
    await expect.poll(() => tokens.count("session-lost")).toBe(2);
    const waits = tokens.publish();
    await expect.poll(() => tokens.count("reconnect")).toBeGreaterThan(4);
    tokens.instead = null;
    await waits;
    await tokens.settled();
    expect(tokens.count("rejected")).toBe(0);
  });

  it("that the broker refuses at once: openTally rejects", async () => {
    const credentials = (): Credentials => ({ password: "canary-of-a-token" });
    const broker = rabbitmq({ urls: [`amqp://127.0.0.1:${node.port}`], credentials });
    const error = await openTally({ service: "shop", broker }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "unauthorized", retryable: false });
    expect(inspect(error, { depth: 9 })).not.toContain("canary");
  });
});
