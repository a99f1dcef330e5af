import { sleep } from "../clock.ts";
import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { storeError } from "../inbox/claims.ts";
import { fingerprint } from "../compress/fingerprint.ts";
import { copyTopic } from "../publish/copies.ts";
import type { Own, Publish } from "../publish/options.ts";
import type { Runtime } from "../runtime.ts";
import type { Delivery } from "../port/receiving.ts";
import type { InboxStore } from "../stores.ts";
import type { Topic } from "../topic.ts";
import { deadLetterTopic } from "./letter.ts";
import type { DeadLetter, Look, PurgeResult, ReplayLook, ReplayResult } from "./queue.ts";
import { readLetter } from "./read.ts";
import { SideBySide } from "./side-by-side.ts";
import { type Instead, Walk } from "./walk.ts";

export interface Place {
  readonly runtime: Runtime;
  readonly topic: Topic<never, unknown>;
  readonly group: string;
  readonly inbox: InboxStore<unknown> | null;
  readonly publish: Publish;
  /** Fires when the call is to end: by the caller's signal, or since the tally closes. Its reason is a TallyError. */
  readonly signal: AbortSignal;
}

/** Letters that are on their way to their group at once, at most: a round trip each, one after another, would take long. */
const ON_THEIR_WAY = 32;

/** About the letter alone: the next one may fare better. Of anything else the next one would fare the same. */
const ITS_OWN: ReadonlySet<string> = new Set(["unroutable", "refused", "too-large", "bad-message"]);

export async function list(place: Place, look: Look & { readonly most: number }): Promise<readonly DeadLetter[]> {
  let found: DeadLetter[] = [];
  await walk(place, look, {
    again: async () => void (found = []),
    over: async () => false,
    full: () => found.length >= look.most,
    letter: async (letter) => void found.push(letter),
  });
  return found;
}

export async function purge(place: Place, look: ReplayLook): Promise<PurgeResult> {
  const { runtime, topic, group } = place;
  let dry = 0;
  let purged = 0;
  const left = await walk(place, look, {
    again: async () => void (dry = 0),
    over: async () => false,
    full: () => dry + purged >= (look.most ?? Number.POSITIVE_INFINITY),
    async letter(letter, ack) {
      if (look.dryRun) dry++;
      else if (ack()) {
        purged++;
        runtime.events.emit({ type: "letter-purged", topic: topic.name, group, id: letter.id });
      }
    },
  });
  return { matched: dry + purged, purged, left };
}

/**
 * Of each letter: `dead` is lifted, its message published, and when that is confirmed the letter acked. Letters of a key go
 * one after another, others side by side. Whatever ends the process in between leaves the letter, and replaying it again
 * publishes the same identity again:
 *
 * | it ends after | then the letter is there, and |
 * |---|---|
 * | lifting `dead` | nothing is out; a redelivery of the first message may run now, and the replayed one is its duplicate |
 * | the confirm | the message is out; the next replay's copy is its duplicate |
 * | the ack | (the letter is gone) |
 */
export async function replay(place: Place, look: ReplayLook): Promise<ReplayResult> {
  const { runtime, topic, group } = place;
  // Keys of which a letter could not go: those behind it stay behind it.
  let stuck = new Set<string>();
  let dry = 0;
  let failed = 0;
  let replayed = 0;
  /** Begun, and those acked before the walk began again. */
  let taken = 0;
  /** A session was lost between a letter's message and its ack. */
  let lost = false;
  let next = Number.NEGATIVE_INFINITY;
  const lanes = new SideBySide(ON_THEIR_WAY);

  async function one(letter: DeadLetter, ack: () => boolean): Promise<void> {
    if (letter.key !== null && stuck.has(letter.key)) return void failed++;
    await revive(place, letter);
    failpoint("letters.revived");
    try {
      await publish(place, letter);
    } catch (thrown) {
      if (!TallyError.is(thrown) || !ITS_OWN.has(thrown.code)) throw thrown;
      if (letter.key !== null) stuck.add(letter.key);
      return void failed++;
    }
    failpoint("letters.confirmed");
    if (!ack()) return void (lost = true);
    failpoint("letters.acked");
    replayed++;
    runtime.events.emit({ type: "letter-replayed", topic: topic.name, group, id: letter.id });
  }

  const left = await walk(place, look, {
    async again() {
      // What is on its way comes again: not beside itself.
      await lanes.over();
      stuck = new Set();
      dry = failed = 0;
      lost = false;
      taken = replayed;
    },
    full: () => taken >= (look.most ?? Number.POSITIVE_INFINITY),
    async over() {
      await lanes.over();
      return lost;
    },
    async letter(letter, ack) {
      taken++;
      if (look.dryRun) return void dry++;
      if (look.perSecond !== null) {
        const now = runtime.clock.now();
        if (next > now) await sleep(runtime.clock, next - now, place.signal);
        next = Math.max(next, now) + 1_000 / look.perSecond;
      }
      await lanes.begin(letter.key, () => one(letter, ack));
    },
  });
  return { matched: dry + failed + replayed, replayed, failed, left };
}

interface Visitor {
  /** The walk begins again: what it saw and did not ack comes again. */
  again(): Promise<void>;
  full(): boolean;
  /** Resolves when nothing asks for an ack any more: true if one was refused, so that its letter comes again. */
  over(): Promise<boolean>;
  /** @param ack Takes the letter out of the queue; false: it is not ours any more, and comes again. */
  letter(letter: DeadLetter, ack: () => boolean): Promise<void>;
}

/** Shows the visitor each letter that `look` asks for; gives how many of those there at the start are left. */
async function walk({ runtime, topic, group, signal }: Place, look: Look, visitor: Visitor): Promise<number> {
  const { name, ordered, groups } = deadLetterTopic(topic.name, group);
  await using queue = new Walk({ runtime, plan: { name, ordered, groups }, hold: look.hold, signal });
  try {
    for (;;) {
      let step: Delivery | Instead = visitor.full() ? "end" : await queue.next();
      if (step === "end") {
        if (!(await visitor.over())) break;
        step = await queue.next();
      }
      if (step === "again") await visitor.again();
      else if (step === "full") {
        const before = queue.acked;
        if (!(await visitor.over()) && queue.acked === before) break;
      } else if (step !== "end") {
        const delivery = step;
        const letter = readLetter(topic, group, delivery.message);
        if (isAskedFor(look, letter)) await visitor.letter(letter, () => queue.ack(delivery));
      }
    }
  } finally {
    await visitor.over();
  }
  return queue.left;
}

/** A promise counts as true whatever it comes to: an asynchronous predicate would have every letter purged. */
function isAskedFor({ where }: Look, letter: DeadLetter): boolean {
  if (where === null) return true;
  const given: unknown = where(letter);
  if (typeof given !== "object" || given === null || !("then" in given)) return Boolean(given);
  Promise.resolve(given).catch(() => {});
  throw new TallyError("bad-config", "deadLetters: where must say true or false at once; it gave a promise");
}

/** Only under its own identity: what is replayed under another id is another message to the inbox. */
async function revive({ topic, group, inbox }: Place, letter: DeadLetter): Promise<void> {
  const { id, letterId, producer } = letter;
  if (inbox === null || id === null || id !== letterId) return;
  try {
    await inbox.revive({ group, topic: topic.name, producer: producer ?? "", id, bodyHash: fingerprint(letter) });
  } catch (thrown) {
    throw storeError("the inbox did not lift a dead mark", thrown);
  }
}

async function publish({ topic, group, publish, signal }: Place, letter: DeadLetter): Promise<void> {
  const { letterId, time, contentType, key, type, contentEncoding, correlationId, causationId, headers } = letter;
  const own: Own = {
    ...(letterId === null ? {} : { id: letterId }),
    ...(time === null ? {} : { time }),
    ...(contentType === null ? {} : { contentType }),
    // As the inbox knows a sender that gave no name.
    producer: letter.producer ?? "",
    key,
    type,
    contentEncoding,
    correlationId,
    causationId,
    headers,
    group,
  };
  // The letter itself is where it is kept until it is with the broker.
  const to = copyTopic(topic, group);
  await publish(to, letter.body, { signal }, own);
}
