// What must never be shown, and every failure in which it could be, as one table.
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { inspect } from "node:util";
import {
  EVENT_CHANNEL,
  openTally,
  type StandardSchema,
  type Tally,
  type TallyOptions,
  type Topic,
  topic,
} from "@tallymq/core";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { type MemoryInbox, memoryInbox, memoryOutbox } from "@tallymq/testkit";
import { type AmqpScript, type ScriptedAmqp, scriptedAmqp } from "@tallymq/testkit/amqp-server";
import { describe, expect, it } from "vitest";
import { thrownBy } from "./refused.ts";

const PASSWORD = "canary-pass/ß%";
const HEADER = "canary-in-a-header";
const BODY = "canary-in-a-body";
const login = `user:${encodeURIComponent(PASSWORD)}`;

/** Each canary as it is and in every spelling that it could be shown in. */
const SPELLINGS = [PASSWORD, HEADER, BODY].flatMap((canary) => {
  const bytes = Buffer.from(canary);
  // Bytes are shown as hex with blanks; base64 of something longer holds the middle of it in one of three ways.
  const shifted = [0, 1, 2].map((n) => bytes.subarray(n, n + 9).toString("base64"));
  return [
    canary,
    encodeURIComponent(canary),
    encodeURI(canary),
    bytes.toString("hex"),
    bytes.toString("hex").replace(/..(?!$)/g, "$& "),
    ...shifted,
  ];
});

/** All that anybody can see. */
class Shown {
  readonly #all: string[] = [];

  readonly hear = (value: unknown): void => {
    this.#all.push(inspect(value, { depth: 15, showHidden: true, getters: true, maxStringLength: null }), json(value));
    for (let at: unknown = value; at instanceof Error; at = at.cause)
      this.#all.push(String(at), at.stack ?? "", json(at));
  };

  get text(): string {
    return this.#all.join("\n");
  }
}

function json(value: unknown): string {
  const seen = new Set<unknown>();
  const text = JSON.stringify(value, (_key, at: unknown) => {
    if (typeof at !== "object" || at === null) return typeof at === "bigint" ? String(at) : at;
    if (seen.has(at)) return "again";
    seen.add(at);
    return at instanceof Error
      ? { ...Object.fromEntries(Object.getOwnPropertyNames(at).map((k) => [k, (at as never)[k]])) }
      : at;
  });
  return text ?? "";
}

interface Scene {
  readonly script?: AmqpScript;
  /** @default at the server */
  readonly url?: (server: ScriptedAmqp) => string;
  readonly options?: Partial<RabbitOptions>;
  readonly tally?: Partial<Omit<TallyOptions, "inbox">> & { readonly inbox?: MemoryInbox };
  /** What is to be among the output, so that the scene is what it says. */
  readonly seen: RegExp;
  readonly act?: (tally: Tally, server: ScriptedAmqp, hear: (value: unknown) => void) => Promise<void>;
}

type Order = { readonly n: number; readonly note: string } | { readonly bad: unknown };
const strict: StandardSchema<Order> = {
  "~standard": {
    version: 1,
    vendor: "test",
    validate: (value: unknown) =>
      typeof value === "object" && value !== null && "n" in value
        ? { value: value as Order }
        : { issues: [{ message: "a number is missing", path: ["n"] }] },
  },
};
const orders: Topic<Order> = topic("orders", { schema: strict, groups: ["billing"], maxBytes: 70_000 });
const order = { n: 1, note: BODY };
const headers = { note: HEADER };

/** Publishes one order with all canaries in it, and hears how that ended. */
async function publish(tally: Tally, hear: (value: unknown) => void, deadline: `${number}ms` = "300ms"): Promise<void> {
  hear(await tally.publish(orders, order, { headers, deadline }).catch((e: unknown) => e));
}

const published = (tally: Tally, _server: ScriptedAmqp, hear: (value: unknown) => void): Promise<void> =>
  publish(tally, hear);

const refusing = (code: number, text: string): AmqpScript => ({
  onMethod({ name }, connection) {
    if (name !== "connection.start-ok") return;
    connection.close(code, text);
    return "handled";
  },
});

const scenes: Readonly<Record<string, Scene>> = {
  "a wrong password": {
    script: refusing(403, "ACCESS_REFUSED - Login was refused"),
    seen: /unauthorized.*ACCESS_REFUSED/,
  },
  "a password that is wrong from now on": {
    seen: /session-lost[^]*ACCESS_REFUSED/,
    tally: { outbox: memoryOutbox(), spill: { after: "10ms" } },
    async act(tally, server, hear) {
      await publish(tally, hear);
      server.script = refusing(403, "ACCESS_REFUSED - Login was refused");
      server.connections.forEach((connection) => connection.drop());
      await expect.poll(() => tally.counters()["reconnect"]).toBeGreaterThan(2);
      await publish(tally, hear);
    },
  },
  "nobody listens": { url: () => `amqp://${login}@127.0.0.1:1/shop`, seen: /ECONNREFUSED/, act: published },
  "none of several nodes": {
    url: () => `amqp://${login}@127.0.0.1:1/shop`,
    options: { urls: [1, 2, 3].map((port) => `amqp://${login}@127.0.0.1:${port}/shop`) },
    seen: /none of 3 nodes/,
    act: published,
  },
  "a host that is not there": {
    url: () => `amqps://${login}@no-such-host.invalid`,
    seen: /ENOTFOUND|EAI_AGAIN/,
    act: published,
  },
  "a virtual host that is refused": {
    script: {
      onOpen(connection) {
        connection.close(530, "NOT_ALLOWED - access to vhost refused", "connection.open");
        return "handled";
      },
    },
    seen: /refused the virtual host/,
    act: published,
  },
  "TLS where there is none": { url: ({ port }) => `amqps://${login}@127.0.0.1:${port}`, seen: /does not speak TLS/ },
  "a key that does not open": {
    url: ({ port }) => `amqps://${login}@127.0.0.1:${port}`,
    options: { tls: { cert: BODY, key: HEADER, passphrase: PASSWORD } },
    seen: /tls cannot be used as it is given/,
  },
  "a silent broker": {
    script: { onSocket: (connection) => connection.mute() },
    tally: { connectWithin: "100ms" },
    seen: /no session within 100 ms/,
    act: published,
  },
  "a handshake of nonsense": {
    script: { onSocket: (connection) => connection.sendRaw(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")) },
    seen: /unreachable/,
    act: published,
  },
  ...Object.fromEntries(
    ([404, 406, 541] as const).map((code): [string, Scene] => [
      `a publish that closes the channel with ${code}`,
      {
        script: { onPublish: (_publish, channel) => channel.close(code, "what it says") },
        seen: /session-lost/,
        act: published,
      },
    ]),
  ),
  "a publish that closes the connection": {
    script: { onPublish: (_publish, channel) => channel.connection.close(501, "FRAME_ERROR") },
    seen: /FRAME_ERROR/,
    act: published,
  },
  "a cut in the middle of a publish": {
    script: { onPublish: (_publish, channel) => channel.connection.drop() },
    seen: /in doubt|mayArrive: true/,
    act: published,
  },
  "no confirm": { script: { onPublish() {} }, seen: /deadline/, act: published },
  "a return": {
    script: {
      onPublish(message, channel) {
        channel.return(message);
        channel.ack(message.tag);
      },
    },
    seen: /unroutable/,
    act: published,
  },
  "a nack": { script: { onPublish: ({ tag }, channel) => channel.nack(tag) }, seen: /resend/, act: published },
  "an alarm": {
    script: { onPublish: (_publish, channel) => channel.connection.blocked("low on memory") },
    seen: /low on memory/,
    act: published,
  },
  "a confirm that cannot be": {
    script: { onPublish: (_publish, channel) => channel.ack(4_711, { multiple: true }) },
    seen: /delivery tag 4711/,
    act: published,
  },
  "a topology that contradicts": {
    script: {
      onMethod({ name }, _connection, channel) {
        if (name !== "queue.declare" || channel === null) return;
        channel.close(406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type'");
        return "handled";
      },
    },
    seen: /topology.*PRECONDITION_FAILED/,
    act: published,
  },
  "messages that cannot be sent": {
    seen: /bad-message[^]*too-large[^]*schema/,
    async act(tally, _server, hear) {
      const attempts: readonly [unknown, object][] = [
        [order, { headers: { note: `${HEADER}\ud800` } }],
        [order, { headers: { note: 5, other: HEADER } }],
        [order, { headers: { "tally-note": HEADER } }],
        [order, { headers: { big: HEADER.repeat(8_000) } }],
        [order, { headers, unknown: BODY }],
        [order, { headers, native: { expiration: HEADER } }],
        [order, { headers, native: { routingKey: HEADER.repeat(20) } }],
        [{ n: 1n, note: BODY }, { headers }],
        [
          {
            n: 1,
            toJSON: () => {
              throw new Error("no JSON of it");
            },
            note: BODY,
          },
          { headers },
        ],
        [{ n: 1, note: BODY.repeat(10_000) }, { headers }],
        [{ bad: BODY }, { headers }],
        [BODY, { headers }],
      ];
      for (const [body, options] of attempts)
        hear(await tally.publish(orders, body as Order, options).catch((e: unknown) => e));
      const first = tally.publish(orders, order, { id: "same", headers }).catch((e: unknown) => e);
      hear(await tally.publish(orders, { ...order, n: 2 }, { id: "same", headers }).catch((e: unknown) => e));
      hear(await first);
    },
  },
  "deliveries that cannot be handled": {
    script: {
      onConsume({ tag, queue }, channel) {
        if (queue !== "orders.billing") return;
        const given = { contentType: "application/json", headers: { note: HEADER } };
        const bodies = [
          BODY,
          `{"n":1,"note":"${BODY}"`,
          `{"bad":"${BODY}"}`,
          `{"n":1,"note":"${BODY}"}`,
          Buffer.from([0xff, ...Buffer.from(BODY)]),
        ];
        bodies.forEach((body, i) =>
          channel.deliver({ consumerTag: tag, properties: { ...given, messageId: `m${i}`, appId: "shop" }, body }),
        );
        channel.deliver({
          consumerTag: tag,
          properties: { headers: { "tally-attempt": HEADER, "tally-seq": HEADER } },
          body: BODY,
        });
      },
    },
    tally: { inbox: memoryInbox() },
    seen: /dead-lettered[^]*decode/,
    async act(tally, _server, hear) {
      await using consumer = await tally
        .consumer("billing", { attempts: 2, retryMin: "1ms", retryMax: "10ms", maxAttempts: 2 } as object)
        .on(orders, () => Promise.reject(new Error("the handler's own words")))
        .start();
      hear(consumer);
      await expect.poll(() => tally.counters()["dead-lettered"] ?? 0, { timeout: 10_000 }).toBeGreaterThan(3);
    },
  },
  "a row of the outbox that is refused": {
    script: {
      onPublish(message, channel) {
        channel.return(message);
        channel.ack(message.tag);
      },
    },
    tally: { outbox: memoryOutbox() },
    seen: /parked[^]*unroutable/,
    async act(tally, _server, hear) {
      const always = topic<Order>("always", { outbox: "always" });
      hear(await tally.publish(always, order, { headers }));
      await expect.poll(() => tally.counters()["parked"]).toBe(1);
    },
  },
};

describe("security: a canary in URL, headers and body never shows", () => {
  it.each(Object.entries(scenes))("%s", async (_what, scene) => {
    await using server = await scriptedAmqp(scene.script ?? {});
    const shown = new Shown();
    // Names (of headers, options, topics) and ids are data, and shown; values are not.
    subscribe(EVENT_CHANNEL, shown.hear);
    try {
      const url = scene.url?.(server) ?? `amqp://${login}@127.0.0.1:${server.port}/shop`;
      const broker = rabbitmq({ urls: [url], ...scene.options });
      shown.hear(broker);
      const given = {
        service: "shop",
        broker,
        reconnect: { max: "20ms" },
        onEvent: shown.hear,
        ...scene.tally,
      } as const;
      await using tally = (await openTally(given).catch((e: unknown) => shown.hear(e))) ?? null;
      if (tally !== null) {
        await scene.act?.(tally, server, shown.hear);
        for (const seen of [tally, await tally.health(), tally.counters(), tally.traits]) shown.hear(seen);
        await tally.close({ within: 200 });
      }
    } finally {
      unsubscribe(EVENT_CHANNEL, shown.hear);
    }
    expect(shown.text).toMatch(scene.seen);
    for (const spelling of SPELLINGS)
      expect(shown.text.includes(spelling), `${spelling} in ${around(shown.text, spelling)}`).toBe(false);
  });

  it("options that are refused", () => {
    const shown = new Shown();
    const bad: readonly object[] = [
      { urls: [`http://${login}@h`] },
      { urls: [`amqp://${login}@h:99999`] },
      { urls: [`amqp://${login}@h/a/b`] },
      { urls: [`amqp://${login}%zz@h`] },
      { urls: `amqp://${login}@h` },
      { urls: [`amqp://${login}@mq.example`] },
      { urls: [`amqps://${login}@h`], credentials: () => ({ password: PASSWORD }) },
      { urls: ["amqps://h"], credentials: { password: PASSWORD } },
      { urls: ["amqps://h"], tls: { passphrase: PASSWORD } },
      { urls: ["amqps://h"], tls: { key: PASSWORD } },
      { urls: ["amqps://h"], tls: { ca: PASSWORD } },
      { urls: ["amqps://h"], tls: PASSWORD },
      { urls: ["amqps://h"], heartbeat: PASSWORD },
      { urls: ["amqps://h"], name: PASSWORD.repeat(20) },
    ];
    for (const options of bad) shown.hear(thrownBy(() => rabbitmq(options as RabbitOptions)));
    // A word of letters is shown where a word was to be given, but never where a secret was.
    for (const word of ["hunter2"])
      for (const options of [
        { credentials: word },
        { tls: word },
        { tls: { ca: word } },
        { tls: { passphrase: word } },
      ])
        expect(thrownBy(() => rabbitmq({ urls: ["amqps://h"], ...options } as never)).message).not.toContain(word);
    for (const spelling of SPELLINGS) expect(shown.text).not.toContain(spelling);
  });

  it("is found where it is shown: in a text, an error's cause, bytes", () => {
    for (const leak of [
      `amqp://${login}@h`,
      new Error("x", { cause: new Error(PASSWORD) }),
      { body: Buffer.from(`"${BODY}"`) },
      Buffer.from(`x${HEADER}`).toString("base64"),
    ]) {
      const shown = new Shown();
      shown.hear(leak);
      expect(SPELLINGS.some((spelling) => shown.text.includes(spelling))).toBe(true);
    }
  });
});

function around(text: string, spelling: string): string {
  const at = text.indexOf(spelling);
  return text.slice(Math.max(0, at - 300), at + 100);
}
