import { join } from "node:path";
import { bytes as raw, openTally, topic } from "@tallymq/core";
import { instant } from "../clients/instant.ts";
import { bodyOf, publishWindow } from "../clients/publish-window.ts";
import { counted, Meter, slope } from "./meter.ts";
import { watchedOutbox } from "./stores.ts";
import type { OutboxMeasure, OutboxTask } from "./task.ts";

const EVERY = 25_000;
/** Before the measured ones: SQLite's page cache, the allocator's pools and both heaps come to their size, the last of it late. */
const WARM = 500_000;
const MOST_MB = 1;
const WITHIN_MS = 120_000;

/** A million messages, after the warm-up, through outbox and relay to a transport that accepts at once: memory after a collection, as it goes. */
export async function memory({ folder, bytes, callers, messages }: OutboxTask): Promise<OutboxMeasure> {
  const { gc } = globalThis;
  if (gc === undefined) throw new Error("memory is measured with --expose-gc");
  const outbox = watchedOutbox(join(folder, "outbox.db"));
  let sent = 0;
  const tally = await openTally({
    service: "bench",
    broker: instant((batch) => (sent += batch.length)),
    outbox: outbox.spec,
  });
  const orders = topic<Uint8Array>("orders", { codec: raw, outbox: "always" });
  const body = bodyOf(bytes);
  const samples: Sample[] = [];
  let meter = new Meter();
  let answered = 0;
  const all = WARM + messages;
  await publishWindow(
    async (n) => {
      await tally.publish(orders, body, { id: `order-${n}` });
      if (++answered === WARM) meter = new Meter();
      if (answered >= WARM && answered % EVERY === 0) samples.push(sample(answered, gc));
    },
    0,
    all,
    callers,
  );
  await outbox.atMost(0, WITHIN_MS);
  // Forced collections are stalls of the bench's own making.
  const figures = { ...meter.end(messages), stall: null };
  await tally.close();
  const grows = growth(samples);
  return {
    ...figures,
    said: { ...grows, peakMB: Math.round(process.resourceUsage().maxRSS / 1_024) },
    problems: [...counted("answered", answered, all), ...counted("sent by the relay", sent, all), ...flat(grows)],
  };
}

interface Sample {
  readonly at: number;
  /** Of the process. */
  readonly resident: number;
  /** Of this thread: objects, and what they hold outside of the heap. */
  readonly used: number;
}

function sample(at: number, collect: () => void): Sample {
  collect();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { at, resident: rss, used: heapUsed + external };
}

/** Growth in MB for each 100,000 messages. */
function growth(samples: readonly Sample[]): { readonly residentMB: number; readonly usedMB: number } {
  const of = (figure: "resident" | "used"): number =>
    (slope(samples.map((each) => [each.at, each[figure]] as const)) * 100_000) / 1024 ** 2;
  return { residentMB: of("resident"), usedMB: of("used") };
}

/** Both must be flat: the process also holds the worker's memory, and what leaks slowly shows in the heap first. */
export function flat({ residentMB, usedMB }: ReturnType<typeof growth>): readonly string[] {
  return [
    ...(residentMB < MOST_MB ? [] : [`the process grows by ${residentMB.toFixed(2)} MB for each 100,000 messages`]),
    ...(usedMB < MOST_MB ? [] : [`the heap grows by ${usedMB.toFixed(2)} MB for each 100,000 messages`]),
  ];
}
