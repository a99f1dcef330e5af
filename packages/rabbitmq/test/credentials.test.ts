import { inspect } from "node:util";
import { type Credentials, rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { virtualClock } from "@tallymq/testkit";
import { type AmqpScript, type ScriptedAmqp, scriptedAmqp } from "@tallymq/testkit/amqp-server";
import type { Transport } from "@tallymq/core/spi";
import { describe, expect, it } from "vitest";
import { thrownBy } from "./refused.ts";
import { messages, ORDERS, Sending, signal, testHost } from "./stage.ts";

const HOUR = 3_600_000;

/** A server, and a transport in virtual time whose credentials come one after another: the nth call gets `token-n`. */
class Tokens implements AsyncDisposable {
  readonly clock = virtualClock();
  readonly sending = new Sending();
  readonly asked: string[] = [];
  server!: ScriptedAmqp;
  transport!: Transport;
  /** What the next calls do; the token itself once it is empty. */
  readonly next: (() => Credentials | Promise<Credentials>)[] = [];

  static async open(script: AmqpScript = {}, options: Partial<RabbitOptions> = {}): Promise<Tokens> {
    const tokens = new Tokens();
    tokens.server = await scriptedAmqp(script);
    tokens.transport = rabbitmq({
      urls: [`amqp://127.0.0.1:${tokens.server.port}/shop`],
      credentials: ({ url }) => {
        tokens.asked.push(url);
        return (tokens.next.shift() ?? (() => ({ password: `token-${tokens.asked.length}`, expiresIn: "1h" })))();
      },
      ...options,
    }).open({ ...testHost(), clock: tokens.clock, random: { unit: () => 0.5, bytes: () => new Uint8Array() } });
    return tokens;
  }

  async session(): Promise<void> {
    await this.transport.admin.declare([ORDERS], signal());
    this.sending.sender = await this.transport.openSender(this.sending, signal());
  }

  /** Moves time on to the next renewal, and waits until the client has the answer to so many of them in all. */
  async renewed(ms: number, times: number): Promise<void> {
    await this.clock.advance(ms);
    await this.server.waitFor((server) => server.methods("connection.update-secret").length === times);
    // Answers come in order: behind this one that of the update is in.
    await this.transport.admin.backlog("orders", "billing", signal());
    await this.clock.advance(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

describe("credentials that are asked for", () => {
  it("are asked for before each connection, by the broker's URL, and are the login", async () => {
    await using tokens = await Tokens.open();
    await tokens.session();
    expect(tokens.asked).toEqual([`amqp://127.0.0.1:${tokens.server.port}/shop`]);
    expect(tokens.server.connection.secretIs("token-1")).toBe(true);
    tokens.server.connection.drop();
    await tokens.sending.until("the loss", () => tokens.sending.losses.length === 1);
    await tokens.session();
    expect(tokens.asked).toHaveLength(2);
    expect(tokens.server.connection.secretIs("token-2")).toBe(true);
  });

  it("are renewed over the open connection when four fifths of their time are over, again and again", async () => {
    await using tokens = await Tokens.open();
    await tokens.session();
    await tokens.clock.advance(0.8 * HOUR - 1);
    expect(tokens.asked).toHaveLength(1);
    for (let n = 1; n <= 3; n++) {
      await tokens.renewed(n === 1 ? 1 : 0.8 * HOUR, n);
      expect(tokens.server.connection.secretIs(`token-${n + 1}`)).toBe(true);
    }
    // The same session all the time, and it works.
    tokens.sending.post(messages(1));
    await tokens.sending.count(1);
    expect(tokens.server.connections).toHaveLength(1);
    expect(tokens.sending.journal).toEqual(["m1 accepted"]);
  });

  it("without expiresIn they are good for ever, and no timer stands", async () => {
    await using tokens = await Tokens.open();
    tokens.next.push(() => ({ username: "ada", password: "p" }));
    await tokens.session();
    expect(tokens.server.connection.user).toBe("ada");
    expect(tokens.clock.pending()).toBe(0);
  });

  it("longer than a timer can be: renewed at their time all the same", async () => {
    await using tokens = await Tokens.open();
    tokens.next.push(() => ({ password: "p", expiresIn: "100d" }));
    await tokens.session();
    await tokens.clock.advance(79 * 24 * HOUR);
    expect(tokens.asked).toHaveLength(1);
    await tokens.renewed(24 * HOUR, 1);
    expect(tokens.asked).toHaveLength(2);
  });

  it("a renewal that fails is surfaced and tried again, with back-off, until it succeeds", async () => {
    await using tokens = await Tokens.open();
    await tokens.session();
    const down = (): never => {
      throw new Error("the token server is away");
    };
    tokens.next.push(down, down);
    await tokens.clock.runUntil(() => tokens.asked.length === 4, HOUR);
    await tokens.renewed(0, 1);
    expect(tokens.sending.journal).toEqual([
      `surfaced: amqp://127.0.0.1:${tokens.server.port}/shop: the credentials were not renewed (try 1; they run out in 720 s): [unreachable] amqp://127.0.0.1:${tokens.server.port}/shop: credentials() failed: the token server is away`,
      expect.stringContaining("(try 2; ") as string,
    ]);
    expect(tokens.asked).toHaveLength(4);
    expect(tokens.server.connections[0]!.state).toBe("open");
  });

  it.each<[string, AmqpScript, () => Credentials | Promise<Credentials>]>([
    ["a function that never answers", {}, () => new Promise(() => {})],
    [
      "a broker that never answers",
      { onMethod: ({ name }) => (name === "connection.update-secret" ? "handled" : undefined) },
      () => ({ password: "new", expiresIn: "1h" }),
    ],
    [
      "a function that fails each time",
      {},
      () => {
        throw new Error("away");
      },
    ],
  ])("when they run out, the connection ends and the next one asks anew: %s", async (_what, script, given) => {
    await using tokens = await Tokens.open(script);
    await tokens.session();
    tokens.next.push(...Array.from({ length: 500 }, () => given));
    await tokens.clock.advance(HOUR - 1);
    expect(tokens.sending.losses).toEqual([]);
    expect(tokens.sending.journal.length).toBeGreaterThan(1);
    await tokens.clock.advance(1);
    await tokens.sending.until("the loss", () => tokens.sending.losses.length === 1);
    expect(tokens.sending.losses[0]).toMatchObject({ code: "unauthorized", retryable: true });
    expect(tokens.sending.losses[0]!.message).toContain("ran out before they were renewed");
    await expect.poll(() => tokens.clock.pending()).toBe(0);
    tokens.next.length = 0;
    tokens.server.script = {};
    await tokens.session();
    expect(tokens.server.connections).toHaveLength(2);
  });

  it("a broker that refuses the new ones closes the connection: lost, and the next one asks anew", async () => {
    await using tokens = await Tokens.open({
      onMethod({ name }, connection) {
        if (name !== "connection.update-secret") return;
        connection.close(530, "NOT_ALLOWED - Credential update refused");
        return "handled";
      },
    });
    await tokens.session();
    await tokens.clock.advance(0.8 * HOUR);
    await tokens.sending.until("the loss", () => tokens.sending.losses.length === 1);
    expect(tokens.sending.losses[0]).toMatchObject({ code: "unauthorized" });
    await expect.poll(() => tokens.clock.pending()).toBe(0);
    await tokens.session();
    expect(tokens.server.connection.secretIs(`token-${tokens.asked.length}`)).toBe(true);
  });

  it("no renewal outlives its connection", async () => {
    await using tokens = await Tokens.open();
    await tokens.session();
    await tokens.transport[Symbol.asyncDispose]();
    expect(tokens.clock.pending()).toBe(0);
  });
});

describe("credentials that are no good", () => {
  it.each<[string, unknown, string]>([
    ["nothing", undefined, "must give { password }"],
    ["no password", { username: "ada" }, "must give { password }"],
    ["an empty password", { password: "" }, "must give { password }"],
    ["a password that is no string", { password: 5 }, "must give { password }"],
    ["a NUL", { password: "canary\0ada" }, "no NUL"],
    ["a long username", { username: "x".repeat(256), password: "canary" }, "255 bytes"],
    ["an expiry that is over", { password: "canary", expiresIn: 0 }, "expiresIn must be a duration from 1000 ms"],
    ["an expiry that is no time", { password: "canary", expiresIn: "soon" }, "expiresIn must be a duration"],
  ])("%s: refused, and not shown", async (_what, given, words) => {
    await using tokens = await Tokens.open();
    tokens.next.push(() => given as Credentials);
    const error = await tokens.session().catch((e: unknown) => e as Error);
    expect(error).toMatchObject({ code: "bad-config", retryable: false });
    expect((error as Error).message).toContain(words);
    expect(inspect(error, { depth: 9 })).not.toContain("canary");
    expect(tokens.server.connections).toHaveLength(0);
  });

  it("a function that throws can be waited for; what it threw stays out of the error, but for its message", async () => {
    await using tokens = await Tokens.open();
    tokens.next.push(() => {
      throw Object.assign(new Error("Request failed with status code 503"), {
        config: { data: "client_secret=canary" },
      });
    });
    const error = await tokens.session().catch((e: unknown) => e as Error);
    expect(error).toMatchObject({ code: "unreachable", retryable: true });
    expect((error as Error).message).toContain("credentials() failed: Request failed with status code 503");
    expect(inspect(error, { depth: 9 })).not.toContain("canary");
  });

  it("credentials in a URL beside them are refused, and so is what is no function", () => {
    const credentials = (): Credentials => ({ password: "p" });
    expect(thrownBy(() => rabbitmq({ urls: ["amqp://localhost", "amqps://u:p@h"], credentials })).message).toContain(
      "urls[1] has credentials, and credentials is given as well",
    );
    expect(thrownBy(() => rabbitmq({ urls: ["amqp://h"], credentials: "s3cr%C3%A9t" as never })).message).toContain(
      "credentials must be a function",
    );
  });
});
