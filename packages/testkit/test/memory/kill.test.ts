import { describe, expect, it } from "vitest";
import { processes } from "../support/processes.ts";
import { messages, NEVER, ORDERS, receiver, sender, until } from "../support/harness.ts";

const home = processes();
const { start, transport, declared } = home;

describe("kill -9", () => {
  it("loses nothing that was accepted, over many rounds, and keeps the order", async () => {
    const broker = await start();
    const accepted: string[] = [];
    const delivered = new Set<string>();
    const order: number[] = [];
    let t = await declared();
    for (let round = 0; round < 12; round++) {
      const s = await sender(t);
      const r = await receiver(t, {
        onDeliver: (batch, self) => {
          for (const d of batch) {
            if (!delivered.has(d.message.id!)) order.push(d.message.seq!);
            delivered.add(d.message.id!);
          }
          self.ack(...batch);
        },
      });
      const sent = messages(400, `r${round}-`);
      for (let i = 0; i < sent.length; i += 20) {
        s.send(...sent.slice(i, i + 20));
        await new Promise((resolve) => setImmediate(resolve));
      }
      // Killed when some copies have their verdict and, most rounds, others do not.
      await until(() => s.verdicts.size >= 20 + round * 20);
      await broker.kill();
      await until(() => s.verdicts.size === sent.length && r.seen.length === 1);
      for (const m of sent) if (s.verdicts.get(m.id)![0]!.kind === "accepted") accepted.push(m.id);
      expect([...s.verdicts.values()].every((v) => v.length === 1)).toBe(true);
      await broker.restart();
      t = transport();
    }
    const r = await receiver(t, {
      onDeliver: (batch, self) => {
        for (const d of batch) {
          if (!delivered.has(d.message.id!)) order.push(d.message.seq!);
          delivered.add(d.message.id!);
        }
        self.ack(...batch);
      },
    });
    await broker.idle();
    expect(r.seen).toEqual([]);
    expect(accepted.filter((id) => !delivered.has(id))).toEqual([]);
    expect(accepted.length).toBeGreaterThan(200);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(broker.stderr).not.toContain("damaged");
  }, 60_000);

  it("keeps what waits for a consumer that is not there, for each group by itself", async () => {
    const broker = await start();
    const plan = { ...ORDERS, groups: ["billing", "audit"] };
    const t = transport();
    await t.admin.declare([plan], NEVER);
    const s = await sender(t);
    const ten = messages(10);
    s.send(...ten);
    await s.all(ten);
    const r = await receiver(t, { topic: plan, group: "audit" });
    await until(() => r.got.length === 10);
    r.ack(...r.got.slice(0, 7));
    await r.receiver[Symbol.asyncDispose]();
    await t.admin.declare([{ ...ORDERS, groups: ["late"] }], NEVER);
    await broker.stop();
    await broker.restart();
    const waiting = async (group: string): Promise<(string | null)[]> =>
      (await broker.messages("orders", group)).map((q) => q.message.id);
    expect(await waiting("billing")).toEqual(ten.map((m) => m.id));
    expect(await waiting("audit")).toEqual(["m8", "m9", "m10"]);
    expect(await waiting("late")).toEqual([]);
    await broker.kill();
    await broker.restart();
    expect(await waiting("audit")).toEqual(["m8", "m9", "m10"]);
    expect(await waiting("late")).toEqual([]);
    expect(broker.report).toMatchObject({ messages: 10, tornBytes: 0, damaged: [], quarantine: null });
  });
});
