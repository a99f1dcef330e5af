import assert from "node:assert/strict";
import type { Claim } from "@tallymq/core/spi";
import type { StoreCase } from "./case.ts";
import { ask, claimed, fresh, inboxKey, storeCase } from "./stage.ts";

export const inboxCases: readonly StoreCase[] = [
  storeCase("a claim is fresh once, busy while somebody is at it, done after", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const claim = await fresh(inbox);
    assert.deepEqual([claim.attempt, claim.key], [1, inboxKey()]);
    const busy = (await claimed(inbox)) as Extract<Claim, { state: "busy" }>;
    assert.equal(busy.state, "busy");
    assert.ok(busy.leftMs > 0 && busy.leftMs <= 60_000);
    assert.equal(await inbox.end(claim, { is: "done" }), true);
    assert.equal((await claimed(inbox)).state, "done");
  }),

  storeCase("the mark and the claim outlive the store's closing", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    await inbox.end(await fresh(inbox), { is: "done" });
    await fresh(inbox, inboxKey({ id: "2" }));
    const { id } = inbox;
    await stage.close(inbox);
    const again = await stage.inbox();
    assert.equal(again.id, id, "expected the same id");
    assert.equal((await claimed(again)).state, "done");
    assert.equal((await claimed(again, inboxKey({ id: "2" }))).state, "busy");
  }),

  storeCase("two who have the store open see one claim", ["inbox"], async (stage) => {
    const [one, two] = [await stage.inbox(), await stage.inbox()];
    assert.equal(one.id, two.id);
    const keys = Array.from({ length: 200 }, (_, n) => ask({ id: `${n}` }));
    const answers = await Promise.all([one, two].flatMap((inbox) => keys.map((key) => inbox.claim([key], 60_000))));
    const states = answers.map(([claim]) => claim!.state);
    assert.deepEqual(
      [states.filter((s) => s === "fresh").length, states.filter((s) => s === "busy").length],
      [200, 200],
    );
    for (const [index, key] of keys.entries())
      assert.deepEqual(
        [answers[index], answers[index + 200]].filter(([c] = []) => c!.state === "fresh").length,
        1,
        key.id,
      );
  }),

  storeCase("the same key twice in one call is claimed once", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const claims = await inbox.claim([ask(), ask(), ask({ id: "2" })], 1_000);
    assert.deepEqual(
      claims.map((claim) => claim.state),
      ["fresh", "busy", "fresh"],
    );
    assert.deepEqual(await inbox.claim([], 1_000), []);
  }),

  storeCase("another body is a conflict, whatever became of the first", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const other = inboxKey({ bodyHash: 0xffff_ffff_ffff_fff0n });
    const claim = await fresh(inbox);
    assert.equal((await claimed(inbox, other)).state, "conflict");
    await inbox.end(claim, { is: "done" });
    assert.equal((await claimed(inbox, other)).state, "conflict");
    const large = inboxKey({ id: "large", bodyHash: 0xffff_ffff_ffff_fff0n });
    await inbox.end(await fresh(inbox, large), { is: "done" });
    assert.equal((await claimed(inbox, large)).state, "done");
  }),

  storeCase("group, topic, producer and id each tell effects apart, as bytes", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const keys = [
      inboxKey(),
      inboxKey({ group: "mail" }),
      inboxKey({ topic: "events" }),
      inboxKey({ producer: "till" }),
      inboxKey({ id: "é" }),
      inboxKey({ id: "e\u0301" }),
      inboxKey({ group: "a", topic: "bc" }),
      inboxKey({ group: "ab", topic: "c" }),
      inboxKey({ id: "1\0" }),
    ];
    for (const key of keys)
      assert.equal(
        (await claimed(inbox, key)).state,
        "fresh",
        JSON.stringify([key.group, key.topic, key.producer, key.id]),
      );
    for (const key of keys) assert.equal((await claimed(inbox, key)).state, "busy");
  }),

  storeCase("started attempts are counted, also those that nobody ended", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    await inbox.end(await fresh(inbox), { is: "failed" });
    const second = await fresh(inbox, inboxKey(), 1_000);
    assert.equal(second.attempt, 2);
    stage.advance(1_001);
    assert.equal((await fresh(inbox)).attempt, 3);
  }),

  storeCase("a claim that ran out goes to the next, and the first one is fenced", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const first = await fresh(inbox, inboxKey(), 5_000);
    stage.advance(4_000);
    assert.equal((await claimed(inbox)).state, "busy");
    stage.advance(1_001);
    const second = await fresh(inbox);
    assert.ok(second.fence > first.fence, "expected fences to rise");
    assert.equal(await inbox.renew(first, 5_000), false);
    for (const outcome of [{ is: "done" }, { is: "failed" }, { is: "dead", reason: "r" }] as const)
      assert.equal(await inbox.end(first, outcome), false);
    assert.equal((await claimed(inbox)).state, "busy");
    assert.equal(await inbox.end(second, { is: "done" }), true);
    assert.equal(await inbox.end(second, { is: "failed" }), false, "expected an end to be the end");
    assert.equal((await claimed(inbox)).state, "done");
  }),

  storeCase("a renewed claim holds on", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const claim = await fresh(inbox, inboxKey(), 5_000);
    stage.advance(4_000);
    assert.equal(await inbox.renew(claim, 5_000), true);
    stage.advance(4_000);
    assert.equal((await claimed(inbox)).state, "busy");
    assert.equal(await inbox.end(claim, { is: "done" }), true);
  }),

  storeCase("a claim that ran out and that nobody took may still end", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const claim = await fresh(inbox, inboxKey(), 1_000);
    stage.advance(60_000);
    assert.equal(await inbox.end(claim, { is: "done" }), true);
  }),

  storeCase("dead stays dead, with its reason", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    await inbox.end(await fresh(inbox), { is: "dead", reason: "dëclined" });
    await stage.close(inbox);
    assert.deepEqual(await claimed(await stage.inbox()), { state: "dead", key: inboxKey(), reason: "dëclined" });
  }),

  storeCase("what is dead is revived, with its starts counted anew, and nothing else is", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const buried = await fresh(inbox);
    await inbox.end(buried, { is: "failed" });
    const last = await fresh(inbox);
    assert.equal(await inbox.revive(inboxKey()), false, "expected a claim to stand");
    await inbox.end(last, { is: "dead", reason: "declined" });
    assert.equal(await inbox.revive(inboxKey({ bodyHash: 8n })), false, "expected another body to be another message");
    assert.equal((await claimed(inbox)).state, "dead");
    assert.equal(await inbox.revive(inboxKey()), true);
    assert.equal(await inbox.revive(inboxKey()), false);
    await stage.close(inbox);
    const again = await stage.inbox();
    assert.equal(await again.renew(last, 60_000), false, "expected whoever buried it to be fenced");
    const claim = await fresh(again);
    assert.equal(claim.attempt, 1);
    await again.end(claim, { is: "done" });
    assert.equal(await again.revive(inboxKey()), false, "expected an effect to stay");
    assert.equal((await claimed(again)).state, "done");
    assert.equal(await again.revive(inboxKey({ id: "unheard of" })), false);
  }),

  storeCase("a mark is kept as long as the store says, and not for ever", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    await inbox.end(await fresh(inbox), { is: "done" });
    // In steps, as a store in use sees time pass.
    for (let step = 0; step < 20; step++) {
      stage.advance(inbox.keepsMs / 20 - 1);
      assert.equal((await claimed(inbox)).state, "done");
      await inbox.end(await fresh(inbox, inboxKey({ id: `other ${step}` })), { is: "done" });
    }
    stage.advance(inbox.keepsMs);
    assert.equal((await claimed(inbox, inboxKey())).state, "fresh", "expected an old mark to be forgotten");
  }),

  storeCase("memory begins at the end of an effect, not at its claim", ["inbox"], async (stage) => {
    const inbox = await stage.inbox();
    const claim = await fresh(inbox);
    for (let step = 0; step < 8; step++) {
      stage.advance(inbox.keepsMs / 10);
      await inbox.renew(claim, inbox.keepsMs);
    }
    await inbox.end(claim, { is: "done" });
    stage.advance(inbox.keepsMs - 1);
    assert.equal((await claimed(inbox)).state, "done");
  }),

  storeCase("a clock that jumps while the store is closed does not shorten memory", ["inbox"], async (stage) => {
    for (let opening = 0; opening < 3; opening++) {
      const inbox = await stage.inbox();
      if (opening === 0) await inbox.end(await fresh(inbox), { is: "done" });
      assert.equal((await claimed(inbox)).state, "done", `opening ${opening}`);
      stage.advance(0);
      await stage.close(inbox);
      stage.advance(inbox.keepsMs * 2);
    }
  }),
];
