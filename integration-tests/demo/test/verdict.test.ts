import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LedgerOp, LedgerWriter, writeFinal } from "@tallymq/testkit/ledger";
import { expect, onTestFinished, test } from "vitest";
import type { Settings } from "../arguments.ts";
import type { FaultRecord } from "../faults/director.ts";
import { type DemoReport, type Evidence, judgeRun } from "../judge.ts";
import { page } from "../report/html.ts";
import { table } from "../report/table.ts";

const settings: Settings = {
  broker: "memory",
  client: "tally",
  store: "sqlite",
  messages: 3,
  seed: 1,
  json: null,
  report: null,
};
const client = { brokers: ["memory"], awaitsAnswer: true, countsResends: true } as unknown as Evidence["client"];
const fault: FaultRecord = {
  kind: "broker-killed",
  victim: null,
  publishing: 1,
  handling: 1,
  waiting: 0,
  from: 2_500,
  struck: 2_600,
  until: 2_700,
};

/** A run of three orders and one fault, as its processes would have written it down; times are given. */
async function run(
  change: {
    effects?: string[];
    publisher?: LedgerOp[];
    evidence?: Partial<Evidence>;
    left?: number;
    cutShort?: boolean;
    redelivered?: boolean;
  } = {},
): Promise<DemoReport> {
  const folder = mkdtempSync(join(tmpdir(), "tally-verdict-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const write = (proc: string, from: number, ops: readonly LedgerOp[]): LedgerWriter => {
    let at = from - 1000;
    const writer = new LedgerWriter({ folder, run: "r", proc, now: () => (at += 1000) });
    for (const op of ops) writer.write(op);
    return writer;
  };
  const ids = ["a", "b", "c"];
  write(
    "publisher-1",
    1_000,
    change.publisher ?? [
      ...ids.map((id) => ({ op: "invoke", id }) as const),
      ...["a", "b"].map((id) => ({ op: "resent", id }) as const),
      ...ids.map((id) => ({ op: "accepted", id, state: "confirmed" }) as const),
    ],
  ).close();
  write("consumer-1", 4_000, [
    ...ids.flatMap(
      (id) =>
        [
          { op: "deliver", id },
          { op: "effect", id },
        ] as const,
    ),
    ...(change.redelivered === false
      ? []
      : ([
          { op: "deliver", id: "a" },
          { op: "dedup", id: "a" },
        ] as const)),
  ]).close();
  const director = write("director", 2_400, [
    { op: "fault-begin", kind: "broker-killed", inflight: 2 },
    { op: "fault-end", kind: "broker-killed" },
    ...(change.cutShort === true ? [] : [{ op: "heal" } as const]),
  ]);
  const effects = (change.effects ?? ids).map((id, n) => ({ id, commit: n + 1 }));
  await writeFinal(director, {
    effects,
    deadLetters: [],
    remaining: [{ where: "queue", name: "orders", n: change.left ?? 0 }],
  });
  director.close();
  const incarnations = ["publisher-1", "consumer-1"].map((proc) => ({ proc, epoch: 1 }));
  return await judgeRun({
    settings,
    brokerTitle: "a broker",
    folder,
    ledger: folder,
    client,
    planned: 1,
    faults: [fault],
    incarnations,
    seconds: 1.23,
    doubts: [],
    ...change.evidence,
  });
}

test("a run that comes out even, under a fault that bit, is VALID; the figures are those of the design", async () => {
  const report = await run();
  expect(report).toMatchObject({ exitCode: 0, reasons: [] });
  expect(report.figures).toEqual({
    broker: "memory",
    store: "sqlite",
    client: "tally",
    accepted: 3,
    lost: 0,
    rejected: 0,
    duplicateDeliveries: 1,
    duplicateEffects: 0,
    resends: 2,
    spilled: 0,
    faults: 1,
    seconds: 1.2,
    verdict: "VALID",
  });
});

test.for([
  ["a lost message", { effects: ["a", "b"] }, /^LOST: 1/, { lost: 1 }],
  ["a doubled effect", { effects: ["a", "b", "c", "c"] }, /^DUPLICATE: 1/, { duplicateEffects: 1 }],
  ["a rest in the broker", { left: 4 }, /^STUCK: 4/, {}],
] as const)("%s is INVALID", async ([, change, words, figures]) => {
  const report = await run(change as Parameters<typeof run>[0]);
  expect(report).toMatchObject({ exitCode: 1, figures: { verdict: "INVALID", ...figures } });
  expect(report.reasons[0]).toMatch(words);
});

test("a rejected publish is INVALID, whatever else is right", async () => {
  const publisher: LedgerOp[] = ["a", "b", "c"].flatMap((id) => [
    { op: "invoke", id },
    id === "c" ? { op: "rejected", id, definite: false } : { op: "accepted", id },
  ]);
  expect(await run({ publisher })).toMatchObject({ exitCode: 1, figures: { rejected: 1, accepted: 2 } });
});

test("no resend leaves it UNKNOWN: the faults hit nothing", async () => {
  const publisher: LedgerOp[] = ["a", "b", "c"].flatMap((id) => [
    { op: "invoke", id },
    { op: "accepted", id },
  ]);
  const report = await run({ publisher });
  expect(report).toMatchObject({ exitCode: 2, figures: { resends: 0 } });
  expect(report.reasons.join("\n")).toMatch(/did not bite/);
});

test("on Kafka, whose client repeats in place, it is the redeliveries that show that the faults bit", async () => {
  const publisher: LedgerOp[] = [
    ...["a", "b", "c"].map((id) => ({ op: "invoke", id }) as const),
    ...["a", "b", "c"].map((id) => ({ op: "accepted", id }) as const),
  ];
  const evidence = { settings: { ...settings, broker: "kafka" } } as const;
  const report = await run({ publisher, evidence });
  expect(report).toMatchObject({ exitCode: 0, figures: { resends: 0, duplicateDeliveries: 1 } });
  expect(table(report, false)).toMatch(/duplicate deliveries +1\n/);
  const none = await run({ publisher, evidence, redelivered: false });
  expect(none).toMatchObject({ exitCode: 2, figures: { duplicateDeliveries: 0 } });
  expect(none.reasons.join("\n")).toMatch(/did not bite/);
});

test("a publisher that does not publish again what was cut short is INVALID", async () => {
  const publisher: LedgerOp[] = ["a", "b", "c"].flatMap((id) => [
    { op: "invoke", id },
    ...(id === "c" ? [] : [{ op: "accepted", id } as const]),
  ]);
  const report = await run({ publisher });
  expect(report).toMatchObject({ exitCode: 1, figures: { verdict: "INVALID", accepted: 2 } });
  expect(report.reasons[0]).toMatch(/1 of 3 messages were never accepted/);
  // On its way when the run was cut short: nothing is proved.
  const cut = await run({ publisher, cutShort: true, evidence: { doubts: ["it was not over after 3 s"] } });
  expect(cut).toMatchObject({ exitCode: 2, figures: { verdict: "UNKNOWN", accepted: 2 } });
});

test.for([
  ["a fault that was not fired", { faults: [], planned: 2 }, /were not fired/],
  ["a fault that hit an idle moment by the ledger", { faults: [{ ...fault, from: 500 }] }, /idle moment/],
  ["a process that ended by itself", { doubts: ["consumer-1 ended by itself: SIGSEGV"] }, /SIGSEGV/],
  ["fewer messages than asked for", { settings: { ...settings, messages: 4 } }, /3 of 4 messages/],
  ["an outage in which nothing was stored", { faults: [{ ...fault, kind: "broker-away" }] }, /no message was stored/],
  [
    "a relay that was killed with nothing to do",
    { faults: [{ ...fault, kind: "relay-killed" }] },
    /no row was waiting/,
  ],
  ["a process without a ledger", { incarnations: [{ proc: "consumer-9", epoch: 1 }] }, /consumer-9/],
] as const)("%s leaves it UNKNOWN", async ([, evidence, words]) => {
  const report = await run({ evidence });
  expect(report).toMatchObject({ exitCode: 2, figures: { verdict: "UNKNOWN" } });
  expect(report.reasons.join("\n")).toMatch(words);
});

test("the timeline has what was in flight at the fault, and the silence that it made", async () => {
  const { timeline } = await run();
  expect(timeline.faults).toMatchObject([{ inFlight: 2, publishing: 2, handling: 0, from: 0.0015 }]);
  expect(timeline.rows.reduce((sum, { accepted }) => sum + accepted, 0)).toBe(3);
  expect(timeline.rows.reduce((sum, { effects }) => sum + effects, 0)).toBe(3);
  expect(timeline.rows.at(-1)).toMatchObject({ inFlight: 0, publishing: 0 });
});

test("the table ends with the verdict, and says why it is not VALID", async () => {
  expect(table(await run(), false)).toMatch(/accepted +3\n.*lost +0\n[^]*broker killed[^]*\nVERDICT: VALID$/);
  expect(table(await run({ effects: [] }), false)).toMatch(/LOST: 3 [^]*\nVERDICT: INVALID$/);
});

test("the page is one file that loads nothing, and shows a value as text", async () => {
  const html = page(
    await run({ evidence: { brokerTitle: `<img src=x onerror="alert(1)">`, doubts: ["</ul><script>1</script>"] } }),
  );
  expect(html).not.toMatch(/<(script|img|link|iframe|object)|@import|url\(|https?:/);
  expect(html).toContain("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;");
  expect(html).toContain("&lt;/ul&gt;&lt;script&gt;");
  expect(html).toContain("default-src 'none'");
});
