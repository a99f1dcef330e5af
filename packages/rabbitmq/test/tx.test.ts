// One thing: how each transaction of the sender can end.
import { describe, expect, it } from "vitest";
import type { RabbitOptions } from "@tallymq/rabbitmq";
import type { AmqpScript, ReceivedPublish, ServerChannel } from "@tallymq/testkit/amqp-server";
import { message, messages, ORDERS, type Sending, Stage } from "./stage.ts";

type Commit = NonNullable<AmqpScript["onCommit"]>;

const PARTIAL = "PRECONDITION_FAILED - partial tx completion";

function open(script: AmqpScript, options: Partial<RabbitOptions> = {}): Promise<Stage> {
  return Stage.open({ onPublish() {}, ...script }, { mode: "tx", queueType: "classic", ...options });
}

/** Ids of each transaction, in the order of the commits. */
function committing(then: Commit = (_, channel) => channel.commitOk()): {
  readonly seen: string[][];
  onCommit: Commit;
} {
  const seen: string[][] = [];
  return {
    seen,
    onCommit(publishes, channel) {
      seen.push(ids(publishes));
      then(publishes, channel);
    },
  };
}

function ids(publishes: readonly ReceivedPublish[]): string[] {
  return publishes.map(({ properties }) => properties.messageId ?? "");
}

function kindsOf(sending: Sending, prefix: string): readonly string[] {
  return Object.entries(sending.kinds).flatMap(([id, kind]) => (id.startsWith(prefix) ? [kind] : []));
}

describe("mode tx: one transaction at a time", () => {
  it("a batch is a transaction; what waits while its commit is under way is the next one", async () => {
    const held: ServerChannel[] = [];
    const { seen, onCommit } = committing((_, channel) => void held.push(channel));
    await using stage = await open({ onCommit });
    const sending = await stage.sender();
    sending.post(messages(2));
    sending.post([message(3)]);
    sending.post([message(4), message(5)]);
    await expect.poll(() => held.length).toBe(1);
    expect(sending.kinds).toEqual({});
    held.shift()!.commitOk();
    await sending.count(2);
    expect(sending.kinds).toEqual({ m1: "accepted", m2: "accepted" });
    await expect.poll(() => held.length).toBe(1);
    held.shift()!.commitOk();
    await sending.count(5);
    expect(seen).toEqual([
      ["m1", "m2"],
      ["m3", "m4", "m5"],
    ]);
    expect(stage.server.methods("confirm.select")).toEqual([]);
    expect(stage.server.methods("tx.select")).toHaveLength(1);
  });

  it("bounded by messages and by bytes; a body above the bound goes by itself", async () => {
    const { seen, onCommit } = committing();
    await using stage = await open({ onCommit }, { txMessages: 3, txBytes: 100 });
    const sending = await stage.sender();
    const sized = (n: number, size: number): ReturnType<typeof message> => message(n, { body: Buffer.alloc(size) });
    sending.post(messages(7));
    await sending.count(7);
    expect(seen.splice(0)).toEqual([["m1", "m2", "m3"], ["m4", "m5", "m6"], ["m7"]]);
    sending.post([sized(11, 60), sized(12, 40), sized(13, 1), sized(14, 1_000), sized(15, 100)]);
    await sending.count(12);
    expect(seen).toEqual([["m11", "m12"], ["m13"], ["m14"], ["m15"]]);
    expect(new Set(Object.values(sending.kinds))).toEqual(new Set(["accepted"]));
  });

  it("what is sent from within verdicts goes together, behind them", async () => {
    const { seen, onCommit } = committing();
    await using stage = await open({ onCommit });
    const sending = await stage.sender();
    let left = 3;
    const { promise, resolve } = Promise.withResolvers<void>();
    sending.sender.send(0, messages(3), (index) =>
      sending.sender.send(0, [message(index + 11)], () => void (--left === 0 && resolve())),
    );
    await promise;
    expect(seen).toEqual([
      ["m1", "m2", "m3"],
      ["m11", "m12", "m13"],
    ]);
  });

  it("what this process refuses is refused by itself, and is in no transaction", async () => {
    const { seen, onCommit } = committing();
    await using stage = await open({ onCommit });
    const sending = await stage.sender();
    sending.post([message(1), message(2, { native: { expiration: "abc" } }), message(3)]);
    await sending.count(3);
    expect(sending.kinds).toEqual({ m1: "accepted", m2: "refused", m3: "accepted" });
    sending.post([message(4, { native: { expiration: "abc" } })]);
    await sending.count(4);
    expect(seen).toEqual([["m1", "m3"]]);
  });

  it("a return comes before the commit's answer: unroutable, and its siblings are accepted", async () => {
    const { onCommit } = committing((publishes, channel) => {
      channel.return(publishes[1]!);
      channel.commitOk();
    });
    await using stage = await open({ onCommit });
    const sending = await stage.sender();
    sending.post(messages(3));
    await sending.count(3);
    expect(sending.kinds).toEqual({ m1: "accepted", m2: "unroutable", m3: "accepted" });
    expect(sending.error("m2")).toMatchObject({ code: "unroutable", mayArrive: false });
  });

  it("a commit's answer that nobody waits for changes nothing", async () => {
    await using stage = await open({ onCommit: (_, channel) => (channel.commitOk(), channel.commitOk()) });
    const sending = await stage.sender();
    sending.post(messages(1));
    await sending.until("the session's end", () => sending.losses.length > 0);
    expect(sending.kinds).toEqual({ m1: "accepted" });
  });
});

describe("mode tx: how it ends without an answer", () => {
  it("a commit whose answer is lost is in doubt, not rolled back; what waited for it never left", async () => {
    await using stage = await open({ onCommit: (_, channel) => channel.connection.drop() });
    const sending = await stage.sender();
    sending.post(messages(2));
    sending.post([message(3)]);
    await sending.count(3);
    expect(sending.journal).toEqual(["lost", "m1 doubt", "m2 doubt", "m3 unsent"]);
    expect(sending.error("m1")).toMatchObject({ code: "in-doubt", mayArrive: true });
    expect(sending.error("m3")).toMatchObject({ code: "unsent", mayArrive: false, retryable: true });
    sending.post([message(4)]);
    expect(sending.kinds["m4"]).toBe("unsent");
  });

  it("a channel closed for some other reason leaves the commit in doubt as well", async () => {
    await using stage = await open({ onCommit: (_, channel) => channel.close(541, "INTERNAL_ERROR") });
    const sending = await stage.sender();
    sending.post(messages(2));
    await sending.count(2);
    expect(sending.journal).toEqual(["lost", "m1 doubt", "m2 doubt"]);
  });

  it("disposed of: the commit under way is in doubt, what waits is unsent, and nothing is lost", async () => {
    await using stage = await open({ onCommit() {} });
    const sending = await stage.sender();
    sending.post(messages(2));
    sending.post([message(3)]);
    await stage.server.waitFor((server) => server.methods("tx.commit").length === 1);
    await sending.sender[Symbol.asyncDispose]();
    await sending.sender[Symbol.asyncDispose]();
    expect(sending.journal).toEqual(["m1 doubt", "m2 doubt", "m3 unsent"]);
  });

  it("an alarm that comes while messages wait for a commit: they never left", async () => {
    await using stage = await open({
      onCommit(_, channel) {
        channel.connection.blocked("low on memory");
        channel.commitOk();
      },
    });
    const sending = await stage.sender();
    sending.post(messages(1));
    sending.post([message(2)]);
    await sending.count(2);
    expect(sending.journal).toEqual(["blocked: low on memory", "m1 accepted", "m2 unsent"]);
  });
});

describe("mode tx: what the broker rolls back", () => {
  it("an exchange that is gone: nothing of the transaction was stored, so all of it is unsent, and the session begins again", async () => {
    await using stage = await open({
      onPublish: (_, channel) => channel.close(404, "NOT_FOUND - no exchange 'orders' in vhost '/'", "basic.publish"),
    });
    const sending = await stage.sender();
    sending.post(messages(2));
    await sending.count(2);
    expect(sending.journal).toEqual(["lost", "m1 unsent", "m2 unsent"]);
    expect(sending.error("m1")).toMatchObject({ mayArrive: false, retryable: true });
  });

  it("one that may not be written to is refused by itself; its siblings are unsent, and the session lives", async () => {
    const { seen, onCommit } = committing();
    await using stage = await open({
      onCommit,
      onPublish({ exchange }, channel) {
        if (exchange === "audit")
          channel.close(403, "ACCESS_REFUSED - write access to exchange 'audit' in vhost '/' refused", "basic.publish");
      },
    });
    await stage.transport.admin.declare([{ ...ORDERS, name: "audit" }], AbortSignal.timeout(5_000));
    const sending = await stage.sender();
    sending.post([message(1), message(2, { topic: "audit" }), message(3)]);
    await sending.count(3);
    expect(sending.kinds).toEqual({ m1: "unsent", m2: "refused", m3: "unsent" });
    expect(sending.error("m2")).toMatchObject({ code: "unauthorized", id: "m2", mayArrive: false });
    // While another channel opens they wait.
    sending.post([message(4)]);
    await sending.count(4);
    expect(sending.kinds["m4"]).toBe("accepted");
    expect(sending.losses).toEqual([]);
    expect(seen).toEqual([["m4"]]);
  });

  it("one that is larger than the broker is set to take is refused by itself", async () => {
    const { onCommit } = committing();
    await using stage = await open({
      onCommit,
      onPublish({ body }, channel) {
        const text = `PRECONDITION_FAILED - message size ${body.length} is larger than configured max size 100`;
        if (body.length > 100) channel.close(406, text, "basic.publish");
      },
    });
    const sending = await stage.sender();
    sending.post([message(1), message(2, { body: Buffer.alloc(101) }), message(3, { body: Buffer.alloc(100) })]);
    await sending.count(3);
    expect(sending.kinds).toEqual({ m1: "unsent", m2: "refused", m3: "unsent" });
    expect(sending.error("m2").code).toBe("too-large");
    sending.post([message(1), message(3, { body: Buffer.alloc(100) })].map((m) => ({ ...m, id: `again-${m.id}` })));
    await sending.count(5);
    expect(kindsOf(sending, "again")).toEqual(["accepted", "accepted"]);
  });

  it("a transaction that was not completed comes back as later, in doubt; the next ones are small, and grow again", async () => {
    let full = true;
    const { seen, onCommit } = committing((_, channel) =>
      full ? channel.close(406, PARTIAL, "tx.commit") : channel.commitOk(),
    );
    await using stage = await open({ onCommit });
    const sending = await stage.sender();
    sending.post(messages(7));
    await sending.count(7);
    expect(new Set(Object.values(sending.kinds))).toEqual(new Set(["later"]));
    expect(sending.error("m1")).toMatchObject({ code: "later", mayArrive: true, retryable: true });
    full = false;
    sending.post(messages(7).map((m) => ({ ...m, id: `again-${m.id}` })));
    await sending.count(14);
    expect(kindsOf(sending, "again")).toEqual(Array(7).fill("accepted"));
    expect(seen.map((all) => all.length)).toEqual([7, 1, 2, 4]);
    expect(sending.losses).toEqual([]);
  });

  it("of a single message that went to a single queue it leaves no doubt", async () => {
    await using stage = await open(
      { onCommit: (_, channel) => channel.close(406, PARTIAL, "tx.commit") },
      { topics: { orders: { queue: "orders" } } },
    );
    const sending = await stage.sender();
    sending.post(messages(1));
    await sending.count(1);
    expect(sending.kinds).toEqual({ m1: "later" });
    expect(sending.error("m1").mayArrive).toBe(false);
  });

  it("no other channel to be had: the session is lost, and what waited for it is unsent", async () => {
    let closed = false;
    await using stage = await open({
      onCommit(_, channel) {
        closed = true;
        channel.close(406, PARTIAL, "tx.commit");
      },
      onMethod(method, connection) {
        if (!closed || method.name !== "channel.open") return undefined;
        connection.drop();
        return "handled";
      },
    });
    const sending = await stage.sender();
    sending.post(messages(1));
    sending.post([message(2)]);
    await sending.count(2);
    expect(sending.journal).toEqual(["m1 later", "lost", "m2 unsent"]);
  });
});

describe("mode tx: any order of answers", () => {
  it("each copy has one verdict; what is accepted was committed, and what is unsent or refused was not", async () => {
    let seed = 11;
    const random = (): number => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff) / 0x7fffffff;
    for (let run = 0; run < 12; run++) {
      const stored = new Set<string>();
      const returned = new Set<string>();
      await using stage = await open(
        {
          onPublish(_, channel) {
            if (random() < 0.01) channel.close(404, "NOT_FOUND - no exchange", "basic.publish");
          },
          onCommit(publishes, channel) {
            const dice = random();
            if (dice < 0.05) return channel.connection.drop();
            for (const publish of publishes) {
              const id = publish.properties.messageId!;
              if (random() < 0.1) {
                returned.add(id);
                channel.return(publish);
              } else if (dice > 0.2 || random() < 0.5) stored.add(id);
            }
            if (dice < 0.1) channel.connection.drop();
            else if (dice < 0.2) channel.close(406, PARTIAL, "tx.commit");
            else channel.commitOk();
          },
        },
        { txMessages: 1 + Math.floor(random() * 8) },
      );
      let n = 0;
      for (let sessions = 0; sessions < 4; sessions++) {
        const sending = await stage.sender();
        while (sending.losses.length === 0 && n < 400 * (sessions + 1)) {
          const batch = Array.from({ length: 1 + Math.floor(random() * 12) }, () =>
            message(++n, { id: `${run}-${n}` }),
          );
          sending.post(batch);
          if (random() < 0.5) await sending.count(1);
        }
        await sending.count(0);
        await sending.until("a verdict for each copy", () => sending.losses.length > 0 || sending.verdicts.size >= n);
        for (const [id, verdicts] of sending.verdicts) {
          expect(verdicts).toHaveLength(1);
          const [{ kind }] = verdicts as [(typeof verdicts)[number]];
          if (kind === "accepted") expect([id, stored.has(id)]).toEqual([id, true]);
          if (kind === "unsent" || kind === "refused") expect([id, stored.has(id)]).toEqual([id, false]);
          if (kind === "unroutable") expect([id, returned.has(id)]).toEqual([id, true]);
        }
        if (sending.losses.length === 0) break;
      }
    }
  }, 60_000);
});

describe("mode tx: what it vouches for", () => {
  it("a commit on quorum queues does not say that they kept the message; that is surfaced once", async () => {
    await using stage = await Stage.open({ onCommit: (_, channel) => channel.commitOk() }, { mode: "tx" });
    const sending = await stage.sender();
    expect(sending.journal).toEqual([expect.stringContaining("rabbitmq-server#8966")]);
    sending.post(messages(1));
    await sending.count(1);
    expect(sending.verdict("m1")).toMatchObject({
      kind: "accepted",
      proof: { routed: "yes", persisted: "unverified" },
    });
    expect((await stage.sender()).journal).toEqual([]);
  });

  it("on classic queues that Tally declared it does", async () => {
    await using stage = await open({ onCommit: (_, channel) => channel.commitOk() });
    const sending = await stage.sender();
    sending.post(messages(1));
    await sending.count(1);
    expect(sending.journal).toEqual(["m1 accepted"]);
    expect(sending.verdict("m1")).toMatchObject({ proof: { routed: "yes", persisted: "yes" } });
  });
});
