import type { Evidence } from "./evidence.ts";
import { SEEN_BY_TWO } from "./messages.ts";

/**
 * What a good run must meet sometimes, with how often it was met: `return`, `dedupe-hit`, `resend`, `consumer-retry`,
 * `dead-letter`, `duplicate-delivery` and `two-processes` (ids delivered by two) follow from the operations;
 * `fault:<kind>` from the faults that met messages in flight; anything else is the `kind` of a `surfaced` line, by the
 * names that the processes give (`multiple-ack`, `nack`, `blocked` …).
 */
export function sometimesSeen(evidence: Evidence): Record<string, number> {
  const { messages, ops } = evidence;
  let [duplicates, two] = [0, 0];
  for (let row = 0; row < messages.size; row++) {
    if (messages.deliveries[row]! > 1) duplicates += messages.deliveries[row]! - 1;
    if ((messages.facts[row]! & SEEN_BY_TWO) !== 0) two += 1;
  }
  const seen = new Map<string, number>(evidence.surfaced);
  const add = (name: string, times: number | undefined): void => {
    if (times !== undefined && times > 0) seen.set(name, (seen.get(name) ?? 0) + times);
  };
  add("return", ops.get("returned"));
  add("dedupe-hit", ops.get("dedup"));
  add("resend", ops.get("resent"));
  add("consumer-retry", ops.get("retry"));
  add("dead-letter", ops.get("dead"));
  add("duplicate-delivery", duplicates);
  add("two-processes", two);
  for (const [kind, times] of evidence.faultKinds) add(`fault:${kind}`, times);
  return Object.fromEntries(seen);
}
