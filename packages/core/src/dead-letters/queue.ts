import { type Bounds, integer, flag, resolveOptions, type Rule, value } from "../policy.ts";

/** A message that a group has given up, as it lies in the group's dead letters. */
export interface DeadLetter {
  /** The message's own; null for a foreign one without. */
  readonly id: string | null;
  /**
   * Under which it lies in the queue and is replayed. The message's own, but where that is another message's: of a conflict
   * (the same identity with another body) it is made from id and body.
   */
  readonly letterId: string | null;
  /** The `service` that published it; null from a foreign sender. */
  readonly producer: string | null;
  readonly topic: string;
  readonly group: string;
  readonly key: string | null;
  readonly type: string | null;
  /** Why it was given up. */
  readonly reason: string;
  /** Started attempts; null where a redelivery found it dead already, and its first letter may not have got out. */
  readonly attempts: number | null;
  /** Wall-clock milliseconds of its `publish()`; null from a foreign sender. */
  readonly time: number | null;
  /** Wall-clock milliseconds at which it was given up; null where the letter does not say. */
  readonly deadAt: number | null;
  readonly correlationId: string | null;
  readonly causationId: string | null;
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  /** The message's, without what the letter says of it; without a prototype. */
  readonly headers: Readonly<Record<string, string>>;
  /** The bytes as they came. */
  readonly body: Uint8Array;
  /** The body as the topic's codec reads it; no schema is asked. @throws TallyError `decode` */
  decode(): unknown;
}

/** What all three look at. */
export interface LookOptions {
  /** Only letters for which it is true, at once: a promise is refused. What it throws ends the call. @default all */
  readonly where?: (letter: DeadLetter) => boolean;
  /**
   * Letters that are held at once, at most: those that are looked at and stay in the queue must be, to see the ones behind
   * them. A call ends when it holds so many. 1–60,000. @default 1000
   */
  readonly hold?: number;
  /** Ends the call, which rejects with `aborted`. */
  readonly signal?: AbortSignal;
}

/** Options of `list()`. */
export interface ListOptions extends LookOptions {
  /** Letters in the list, at most; 1–60,000. @default 100 */
  readonly most?: number;
}

/** Options of `purge()`. */
export interface PurgeOptions extends LookOptions {
  /** Letters that are taken out, at most. @default no limit */
  readonly most?: number;
  /** Only counts: nothing is changed. @default false */
  readonly dryRun?: boolean;
}

/** Options of `replay()`. */
export interface ReplayOptions extends PurgeOptions {
  /** Letters replayed a second, at most; a whole number. @default no limit: as fast as the broker confirms them */
  readonly perSecond?: number;
}

/** What `replay()` did. */
export interface ReplayResult {
  /** Letters that `where` was true for, `most` at most. */
  readonly matched: number;
  /** Those that are with their group again, and no letters any more. */
  readonly replayed: number;
  /** Those that the broker refused, and those of their keys behind them: still letters. */
  readonly failed: number;
  /** Of the letters that were there when the call began, those that still are. */
  readonly left: number;
}

/** What `purge()` did. */
export interface PurgeResult {
  /** Letters that `where` was true for, `most` at most. */
  readonly matched: number;
  readonly purged: number;
  /** Of the letters that were there when the call began, those that still are. */
  readonly left: number;
}

/**
 * The dead letters of one group of one topic. Made by `tally.deadLetters()`; holds nothing open between calls.
 *
 * Each call looks at the letters that are there when it begins, in the order of the queue; what arrives meanwhile is the
 * next call's. Calls on one queue take turns in a process. Elsewhere they should, too: while one holds a letter no other
 * sees it, and two replays at once may part a key between them.
 *
 * All three reject with a TallyError: `bad-config`, `aborted`, `closed`, `unreachable` (no session for 30 s), or what waiting
 * cannot mend (`topology`, `unauthorized` …). What was done by then is done; call again for the rest.
 */
export interface DeadLetterQueue {
  readonly topic: string;
  readonly group: string;
  /** The letters, without taking any: afterwards they are where they were. Each look counts as a delivery at the broker. */
  list(options?: ListOptions): Promise<readonly DeadLetter[]>;
  /**
   * Makes messages of letters again, each with its own id, producer, key, bytes, content type, encoding, headers, type and
   * causes, for this group alone. A letter leaves the queue when the broker has confirmed its message, and only then the next
   * of its key goes; different keys go side by side. With an inbox the identity is claimable again, its attempts counted anew, so this
   * has to be called where the group's own inbox is.
   *
   * A letter that is replayed twice (its ack was lost) has one effect where the group has an inbox.
   * @throws TallyError also `store`: the inbox did not answer
   */
  replay(options?: ReplayOptions): Promise<ReplayResult>;
  /** Throws letters away. With an inbox their identities stay dead: a redelivery of one never runs. */
  purge(options?: PurgeOptions): Promise<PurgeResult>;
}

/** AMQP writes a credit in 16 bits. */
const MOST_HELD = 60_000;

const where: Rule<((letter: DeadLetter) => boolean) | null> = value<((letter: DeadLetter) => boolean) | null>(
  null,
  "a function of a letter",
  (v): v is (letter: DeadLetter) => boolean => typeof v === "function",
);
const signal: Rule<AbortSignal | null> = value<AbortSignal | null>(
  null,
  "an AbortSignal",
  (v): v is AbortSignal => v instanceof AbortSignal,
);
const count: Rule<number | null> = { default: null, read: integer(1, 1, Number.MAX_SAFE_INTEGER).read };
const rate: Rule<number | null> = { default: null, read: integer(1, 1, 1_000_000).read };

/** The resolved options of one call. */
export interface Look {
  readonly where: ((letter: DeadLetter) => boolean) | null;
  readonly signal: AbortSignal | null;
  readonly hold: number;
  readonly most: number | null;
}
export interface ReplayLook extends Look {
  readonly dryRun: boolean;
  readonly perSecond: number | null;
}

const LOOK = { where, signal, hold: integer(1_000, 1, MOST_HELD) };
const LIST: Bounds<Look & { readonly most: number }> = { ...LOOK, most: integer(100, 1, MOST_HELD) };
const PURGE: Bounds<Omit<ReplayLook, "perSecond">> = { ...LOOK, most: count, dryRun: flag(false) };
const REPLAY: Bounds<ReplayLook> = { ...PURGE, perSecond: rate };

/** A list holds what it shows. @throws TallyError `bad-config` */
export function resolveList(at: string, options: ListOptions | undefined): Look & { readonly most: number } {
  const o = resolveOptions(`${at} list`, options, LIST);
  return { ...o, hold: Math.max(o.hold, o.most) };
}

/** @throws TallyError `bad-config` */
export function resolvePurge(at: string, options: PurgeOptions | undefined): ReplayLook {
  return { ...resolveOptions(`${at} purge`, options, PURGE), perSecond: null };
}

/** @throws TallyError `bad-config` */
export function resolveReplay(at: string, options: ReplayOptions | undefined): ReplayLook {
  return resolveOptions(`${at} replay`, options, REPLAY);
}
