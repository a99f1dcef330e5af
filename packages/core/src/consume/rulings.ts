import type { Duration } from "../duration.ts";
import { TallyError } from "../error.ts";
import { duration, resolveOptions } from "../policy.ts";
import type { Ruling } from "./options.ts";

/**
 * Ruling of `onError`: once more in place, after a back-off with full jitter, or after exactly `after`. At least 1 ms
 * passes, so that a handler which always fails cannot starve the event loop.
 * @throws TallyError `bad-config`
 */
export function retry(options: { readonly after?: Duration } = {}): Ruling {
  return { kind: "retry", afterMs: after("retry", options) };
}

/**
 * Ruling of `onError`: again later, after a back-off with full jitter, or after exactly `after`. The broker keeps a copy of
 * the message for this group until then, and the delivery is acked: it holds no credit. For `maxAttempts` times in all,
 * then it is a dead letter.
 *
 * Not of an ordered key, which others would overtake: that is surfaced as `unsupported` and treated as without `onError`.
 * Nor by more than `tally.traits.longestDelay`, or where that is 0: surfaced, and released.
 * @throws TallyError `bad-config`
 */
export function delay(options: { readonly after?: Duration } = {}): Ruling {
  return { kind: "delay", afterMs: after("delay", options) };
}

/**
 * Ruling of `onError`: back to the broker for redelivery, here or elsewhere, after a back-off with full jitter, or after
 * exactly `after`. Until then the delivery keeps its credit, unless the broker can delay it by itself. Where the broker takes
 * nothing back (`traits.release` is `none`: Kafka) it is tried again in place, after that wait.
 * @throws TallyError `bad-config`
 */
export function release(options: { readonly after?: Duration } = {}): Ruling {
  return { kind: "release", afterMs: after("release", options) };
}

/**
 * Ruling of `onError`: given up. The message is published to the topic `<topic>.<group>.dead-letters`, with its bytes,
 * headers and the reason, and acked when the broker has it there. With an inbox a redelivery finds it dead, and never runs.
 * @param reason Stands in the letter's header `dead-reason`; at most 1,000 characters. @default the error's message
 * @throws TallyError `bad-config`
 */
export function deadLetter(reason?: string): Ruling {
  if (reason !== undefined && typeof reason !== "string")
    throw new TallyError("bad-config", "deadLetter: the reason must be a string");
  return { kind: "deadLetter", reason: reason ?? null };
}

/**
 * Ruling of `onError` for a delivery of an ordered key: the message is copied, whole, into the inbox and acked, and what
 * comes of its key later is stored behind it, until `tally.parked.keys` replays or purges them. Other keys go on.
 *
 * Needs an inbox (effect `"marked"` or `"tx"`) and an id; without, the key is blocked: its head is tried again in place for
 * ever. A delivery of no ordered key cannot be parked: it is released. Either is surfaced as `unsupported`.
 * @param reason Stands in the list of parked messages; at most 1,000 characters. @default the error's message
 * @throws TallyError `bad-config`
 */
export function park(reason?: string): Ruling {
  if (reason !== undefined && typeof reason !== "string")
    throw new TallyError("bad-config", "park: the reason must be a string");
  return { kind: "park", reason: reason ?? null };
}

const AFTER = { after: { default: null, read: duration(0, 0).read } };

function after(where: string, options: { readonly after?: Duration }): number | null {
  return resolveOptions<{ readonly after: number | null }>(where, options, AFTER).after;
}
