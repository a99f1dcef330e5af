import { openTally, topic } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { startKafkaCluster } from "../brokers/index.ts";
import { setTimeout as sleep } from "node:timers/promises";
const cluster = await startKafkaCluster();
const orders = topic<{ n: number }>("orders", { key: (o) => String(o.n % 100), groups: ["billing"] });
const t0 = performance.now();
const say = (...a: unknown[]) => console.log(((performance.now() - t0) / 1000).toFixed(2), ...a);
const open = (who: string) => openTally({ service: "shop", broker: kafka({ brokers: cluster.proxied, sessionTimeout: "3s", heartbeat: "500ms" }), topics: [orders],
  onEvent: (e) => { if (!/memory-bound|audit|redeliv|duplicate/.test(e.type)) say(who, e.type, (e as any).error?.message ?? "", (e as any).why ?? "", (e as any).count ?? "", String((e as any).error?.cause?.cause ?? "").slice(0, 200)); } });
const pub = await open("pub");
const got = new Map<number, number>();
let last = performance.now(), lastAcc = performance.now();
const consumers = await Promise.all([1, 2, 3].map(async (i) => {
  const t = await open("con" + i);
  await t.consumer("billing", { effect: "none", lanes: 64 }).on(orders, async ({ n }) => { got.set(n, (got.get(n) ?? 0) + 1);
    const gap = performance.now() - last; if (gap > 500) say("effects silent for", gap | 0); last = performance.now(); }).start();
  return t;
}));
let n = 0, accepted = 0, stop = false;
const publishing = (async () => { const open = new Set<Promise<void>>();
  while (!stop) { for (let i = 0; i < 10; i++) { const m = n++; const p: Promise<void> = pub.publish(orders, { n: m }, { id: "o" + m }).then(() => { accepted++; const gap = performance.now() - lastAcc; if (gap > 500) say("accepts silent for", gap | 0); lastAcc = performance.now(); }, (e) => say("REJECTED", e.message)).finally(() => open.delete(p)); open.add(p); } await sleep(10); }
  await Promise.all(open); })();
await sleep(3000);
for (let round = 0; round < 2; round++) {
  const l = await cluster.leaderOf(process.argv[2] ?? "__consumer_offsets", Number(process.argv[3] ?? 0));
  say("kill", l.name); await l.kill(); say("dead");
  const next = await cluster.leaderOf("orders", 0); say("leader", next.name);
  await sleep(8000); say("start"); await l.start(); say("started"); await cluster.inSync("orders"); say("insync");
  await sleep(4000);
}
stop = true; await publishing; say("published", n, accepted);
const until = performance.now() + 20000; while (got.size < n && performance.now() < until) await sleep(50);
let dup = 0; for (const c of got.values()) dup += c - 1;
say("got", got.size, "of", n, "dups", dup);
for (const t of [pub, ...consumers]) await t.close();
await cluster.stop();
