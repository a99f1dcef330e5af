import { describe, expect, it } from "vitest";
import { bytes } from "../../src/codec.ts";
import { topic } from "../../src/topic.ts";
import { accepted, rig, watch } from "../support/scripted-transport.ts";

const plain = topic("plain");

describe("the snapshot", () => {
  it("rule 3: seq counts the calls of a topic, in the envelope; those refused at the call leave no number", async () => {
    const r = rig();
    void r.publisher.publish(plain, 1, {
      id: "a",
      key: "k",
      correlationId: "c",
      headers: { traceparent: "00-aa-bb-01" },
    });
    void r.publisher.publish(plain, undefined).catch(() => {});
    void r.publisher.publish(plain, 2, { id: "b" });
    void r.publisher.publish(topic("other"), 3, {
      id: "c",
      cause: { id: "a", correlationId: null, headers: { traceparent: "00-cc-dd-01", other: "x" } },
    });
    await r.clock.advance(0);
    const [a, b, c] = r.copies.map((copy) => copy.message);
    expect(a).toMatchObject({
      id: "a",
      producer: "shop",
      run: "a".repeat(32),
      seq: 1,
      topic: "plain",
      key: "k",
      type: "plain",
      contentType: "application/json",
      contentEncoding: null,
      time: 1_767_225_600_000,
      attempt: 1,
      correlationId: "c",
      causationId: null,
      native: null,
    });
    expect({ ...a?.headers }).toEqual({ traceparent: "00-aa-bb-01" });
    expect(b?.seq).toBe(2);
    expect(c).toMatchObject({ seq: 1, correlationId: "a", causationId: "a" });
    expect({ ...c?.headers }).toEqual({ traceparent: "00-cc-dd-01" });
  });

  it("rule 3: what is withdrawn leaves a hole, a resend keeps its number, and each run begins anew", async () => {
    for (let run = 0; run < 2; run++) {
      const r = rig();
      const gone = new AbortController();
      const keyed = topic<number>("keyed", { key: () => "k", ordered: true });
      void r.publisher.publish(keyed, 1, { id: "m1" });
      // Behind the first of its key: no copy has left, so that it is withdrawn for good.
      const withdrawn = watch(r.publisher.publish(keyed, 2, { id: "m2", signal: gone.signal }));
      void r.publisher.publish(keyed, 3, { id: "m3" });
      await r.clock.advance(0);
      gone.abort();
      r.sessions[0]?.lose();
      await r.clock.runUntil(() => r.copies.length === 2, 5_000);
      r.copies[1]?.verdict(accepted);
      await r.clock.advance(0);
      expect(withdrawn).toMatchObject({ state: "rejected", error: { code: "aborted", mayArrive: false } });
      expect(r.copies.map(({ message }) => [message.id, message.seq])).toEqual([
        ["m1", 1],
        ["m1", 1],
        ["m3", 3],
      ]);
    }
  });

  it("small bodies cut from one slab do not run into each other", async () => {
    const r = rig({ window: 100_000 });
    const raw = topic<Uint8Array>("raw", { codec: bytes });
    const text = topic<string>("text");
    for (let i = 0; i < 3_000; i++) {
      void r.publisher.publish(raw, new Uint8Array(i % 300).fill(i % 251));
      void r.publisher.publish(text, "é".repeat(i % 200) + i);
    }
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(6_000);
    for (const { message } of r.copies) {
      const i = message.seq - 1;
      if (message.topic === "raw")
        expect(message.body.length === i % 300 && message.body.every((b) => b === i % 251)).toBe(true);
      else expect(JSON.parse(new TextDecoder().decode(message.body))).toBe("é".repeat(i % 200) + i);
    }
  });
});
