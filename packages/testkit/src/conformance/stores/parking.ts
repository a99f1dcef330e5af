import assert from "node:assert/strict";
import type { FreshClaim, InboxStore, Outgoing, ParkResult } from "@tallymq/core/spi";
import type { StoreCase } from "./case.ts";
import { ask, claimed, fresh, inboxKey, storeCase, type StoreStage } from "./stage.ts";

/** The identity of a message of this stage, in group `billing`. */
const keyOf = ({ topic, producer, id }: Outgoing) => inboxKey({ topic, producer, id });

/** Parks messages of the key `k`; with a claim as its failed head. */
function parker(inbox: InboxStore<unknown>, key = "k") {
  return (message: Outgoing, head: FreshClaim | null, reason = `reason of ${message.id}`): Promise<ParkResult> =>
    inbox.park({ group: "billing", topic: "orders", key, message, reason }, head);
}

/** So many messages of the key `k`, the first of them parked as its failed head, the rest behind. */
async function parkedMessages(stage: StoreStage, inbox: InboxStore<unknown>, count: number): Promise<Outgoing[]> {
  const messages = Array.from({ length: count }, () => stage.message({ key: "k" }));
  const park = parker(inbox);
  for (const [index, message] of messages.entries())
    assert.equal(await park(message, index === 0 ? await fresh(inbox, keyOf(message)) : null), "parked");
  return messages;
}

export const parkingCases: readonly StoreCase[] = [
  storeCase("a parked key is seen by all, with its messages whole and in order", ["inbox"], async (stage) => {
    const [one, two] = [await stage.inbox(), await stage.inbox()];
    const messages = [
      stage.message({ key: "k", headers: { a: "b" } }),
      stage.message({ key: "k", body: new Uint8Array(400_000).fill(7) }),
      stage.message({ key: "k", id: "☃".repeat(80), type: "ü", headers: { ü: "☃".repeat(5_000) } }),
    ];
    const park = parker(one);
    const head = await fresh(one, keyOf(messages[0]!));
    assert.equal(await park(messages[1]!, null), "free", "expected nothing to be parked behind nobody");
    assert.deepEqual(
      [
        await park(messages[0]!, head, "declined"),
        await park(messages[1]!, null),
        await park(messages[2]!, null),
        await park(messages[1]!, null),
      ],
      ["parked", "parked", "parked", "parked"],
    );
    assert.deepEqual([...(await two.parkedKeys("billing", "orders", ["k", "other"]))], ["k"]);
    assert.deepEqual([...(await two.parkedKeys("another", "orders", ["k"]))], []);
    const rows = await two.parkedMessages("billing", "orders", "k", 10);
    assert.deepEqual(
      rows.map((row) => row.message),
      messages,
    );
    assert.deepEqual(
      rows.map((row) => row.reason),
      ["declined", `reason of ${messages[1]!.id}`, `reason of ${messages[2]!.id}`],
    );
    for (const row of rows) {
      assert.equal((await one.parkedKeys("billing", "orders", ["k"])).size, 1);
      assert.equal(await one.unpark(row.place), true);
    }
    assert.equal(
      (await two.parkedKeys("billing", "orders", ["k"])).size,
      0,
      "expected the key to be free with its last message",
    );
    assert.equal(await one.unpark(rows[0]!.place), false);
    assert.equal(await park(messages[2]!, null), "free");
  }),

  storeCase("parked keys are listed by group and by topic, the oldest first", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const names = [
      ["billing", "orders", "b"],
      ["billing", "events", "a"],
      ["mail", "orders", "a"],
      ["billing", "orders", "a"],
    ] as const;
    for (const [group, topic, key] of names) {
      const message = stage.message({ topic, key });
      const head = await fresh(inbox, { ...keyOf(message), group });
      assert.equal(await inbox.park({ group, topic, key, message, reason: "declined" }, head), "parked");
      await inbox.park({ group, topic, key, message: stage.message({ topic, key }), reason: "behind" }, null);
    }
    const list = async (group: string | null, topic: string | null, most = 10): Promise<string[]> =>
      (await inbox.parked(group, topic, most)).map((k) => `${k.group} ${k.topic} ${k.key}`);
    assert.deepEqual(
      await list(null, null),
      names.map((name) => name.join(" ")),
    );
    assert.deepEqual(await list("billing", "orders"), ["billing orders b", "billing orders a"]);
    assert.deepEqual(await list("mail", null), ["mail orders a"]);
    assert.deepEqual(await list(null, "events"), ["billing events a"]);
    assert.deepEqual(await list(null, null, 1), ["billing orders b"]);
    const [first] = await inbox.parked(null, null, 1);
    assert.deepEqual([first!.messages, first!.reason], [2, "declined"]);
  }),

  storeCase(
    "while its key is parked a message is `parked`, not fresh and not busy, wherever it comes",
    ["inbox"],
    async (stage) => {
      const [one, two] = [await stage.inbox(), await stage.inbox()];
      const [head, second] = [stage.message({ key: "k" }), stage.message({ key: "k" })];
      const claim = await fresh(one, keyOf(head));
      assert.equal(
        (await claimed(two, keyOf(second), 60_000, "k")).state,
        "fresh",
        "expected a key of no parked message",
      );
      assert.equal(await parker(one)(head, claim), "parked");
      const states = await two.claim(
        [
          ask({ ...keyOf(head), behind: "k" }),
          ask({ ...keyOf(second), behind: "k" }),
          ask({ id: "new", behind: "k" }),
          ask({ id: "new", behind: "other" }),
          ask({ id: "of no order" }),
          ask({ id: "new", group: "mail", behind: "k" }),
          ask({ id: "new", topic: "events", behind: "k" }),
        ],
        60_000,
      );
      assert.deepEqual(
        states.map((s) => s.state),
        ["parked", "parked", "parked", "fresh", "fresh", "fresh", "fresh"],
      );
    },
  ),

  storeCase(
    "a head that is parked is not busy for who replays it, and its start was counted",
    ["inbox"],
    async (stage) => {
      const inbox = await stage.inbox();
      const [head] = await parkedMessages(stage, inbox, 1);
      assert.equal((await fresh(inbox, keyOf(head!))).attempt, 2);
      assert.equal((await claimed(inbox, keyOf(head!))).state, "busy");
    },
  ),

  storeCase("what was only parked has not started", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const [, second] = await parkedMessages(stage, inbox, 2);
    for (let times = 0; times < 3; times++)
      assert.equal((await claimed(inbox, keyOf(second!), 60_000, "k")).state, "parked");
    assert.equal((await fresh(inbox, keyOf(second!))).attempt, 1);
  }),

  storeCase("what is done, dead or in conflict says so also while its key is parked", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    await inbox.end(await fresh(inbox, inboxKey({ id: "done" })), { is: "done" });
    await inbox.end(await fresh(inbox, inboxKey({ id: "dead" })), { is: "dead", reason: "declined" });
    const [head] = await parkedMessages(stage, inbox, 1);
    const states = await inbox.claim(
      [
        ask({ id: "done", behind: "k" }),
        ask({ id: "dead", behind: "k" }),
        ask({ ...keyOf(head!), bodyHash: 8n, behind: "k" }),
      ],
      60_000,
    );
    assert.deepEqual(
      states.map((s) => s.state),
      ["done", "dead", "conflict"],
    );
  }),

  storeCase("a head whose claim is another one's parks nothing", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const head = stage.message({ key: "k" });
    const claim = await fresh(inbox, keyOf(head), 1_000);
    stage.advance(1_001);
    const second = await fresh(inbox, keyOf(head));
    assert.equal(await parker(inbox)(head, claim), "fenced");
    assert.equal((await inbox.parkedKeys("billing", "orders", ["k"])).size, 0);
    assert.equal(await inbox.end(second, { is: "done" }), true);
  }),

  storeCase("the same identity with another body is not taken for the one that is parked", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const [, second] = await parkedMessages(stage, inbox, 2);
    const other = { ...second!, body: new TextEncoder().encode("another") };
    assert.equal(await parker(inbox)(other, null), "conflict");
    assert.equal(await parker(inbox)({ ...second!, run: "another", seq: 99, time: 1 }, null), "parked");
    assert.equal((await inbox.parkedMessages("billing", "orders", "k", 10)).length, 2);
  }),

  storeCase("parked messages outlive the store's closing, and go on behind each other", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const messages = await parkedMessages(stage, inbox, 3);
    await stage.close(inbox);
    const again = await stage.inbox();
    assert.equal((await claimed(again, inboxKey({ id: "new" }), 60_000, "k")).state, "parked");
    const fourth = stage.message({ key: "k" });
    assert.equal(await parker(again)(fourth, null), "parked");
    const rows = await again.parkedMessages("billing", "orders", "k", 10);
    assert.deepEqual(
      rows.map((row) => row.message.id),
      [...messages, fourth].map(({ id }) => id),
    );
    assert.ok(rows.every((row, index) => index === 0 || row.place > rows[index - 1]!.place));
    assert.equal((await again.parkedMessages("billing", "orders", "k", 2)).length, 2);
  }),

  storeCase(
    "parks and claims at once: either a message is parked, or it is fresh before its head",
    ["inbox"],
    async (stage) => {
      const [one, two] = [await stage.inbox(), await stage.inbox()];
      for (let n = 0; n < 20; n++) {
        const [head, next] = [stage.message({ key: `k${n}` }), stage.message({ key: `k${n}` })];
        const claim = await fresh(one, keyOf(head));
        const [parking, first] = await Promise.all([
          parker(one, `k${n}`)(head, claim),
          claimed(two, keyOf(next), 60_000, `k${n}`),
        ]);
        assert.equal(parking, "parked");
        assert.ok(first.state === "fresh" || first.state === "parked", first.state);
        assert.equal((await claimed(two, keyOf(next), 60_000, `k${n}`)).state, "parked");
      }
    },
  ),
];
