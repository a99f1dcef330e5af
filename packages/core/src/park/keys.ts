import { readMessage } from "../body.ts";
import { describe, TallyError } from "../error.ts";
import type { Events } from "../events.ts";
import { fingerprint } from "../compress/fingerprint.ts";
import { type Bounds, integer, resolveOptions, type Rule, value } from "../policy.ts";
import type { InboxStore, ParkedKey, ParkedPlace } from "../stores.ts";
import { isTopic, type Topic } from "../topic.ts";
import { parkedDelivery } from "./copy.ts";
import { type ParkedKeyName, Replays } from "./replays.ts";
import type { Runners } from "./runners.ts";

/** A message of a parked key, as a person looks at it. */
export interface ParkedLetter {
  /** Names it among the messages of its key, in which it rises. */
  readonly place: number;
  /** Wall-clock milliseconds. */
  readonly parkedAt: number;
  /** Why it failed, or that it came behind one which did. */
  readonly reason: string;
  /** Null where a foreign sender gave none. */
  readonly id: string | null;
  readonly producer: string | null;
  readonly type: string | null;
  /** Wall-clock milliseconds of its `publish()`; null from a foreign sender. */
  readonly time: number | null;
  readonly contentType: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** As it came. */
  readonly body: Uint8Array;
  /** With `decode`: the body as a handler of that topic gets it, or the TallyError (`decode`, `schema`) instead. Else undefined. */
  readonly decoded: unknown;
}

/** Ordered keys whose head failed, with the messages that wait behind it, in the inbox. */
export interface ParkedKeys {
  /**
   * The keys, those parked first at the front.
   * @param of.group Only of this group. @default all
   * @param of.topic Only of this topic. @default all
   * @param of.most @default 100
   * @throws TallyError `unsupported` without an inbox, `bad-config`, `store`, `closed`
   */
  list(of?: {
    readonly group?: string;
    readonly topic?: string;
    readonly most?: number;
  }): Promise<readonly ParkedKey[]>;
  /**
   * The messages of a key, in the order in which they would run.
   * @param of.most @default 100
   * @param of.decode The topic: its codec and schema read the bodies. @default bytes only
   * @throws TallyError as `list`
   */
  messages(
    of: ParkedKeyName & { readonly most?: number; readonly decode?: Topic<never, unknown> },
  ): Promise<readonly ParkedLetter[]>;
  /**
   * Runs the messages of a key in their order, by the handler of a consumer of that group and topic which this process has
   * started, each by its claim and with its effect and mark, and removes each; what arrives meanwhile goes behind. Then the
   * key is free. Attempts in place, `onError` and deadlines are as ever, but for what ends them: `deadLetter()` lets the next
   * one run; anything else ends the replay, and the key stays parked from that message on. A paused consumer runs it when
   * it is resumed. A message that somebody else is at (a replay elsewhere, or one that was killed less than a `lease` ago)
   * is waited for. A second call for a key joins the first.
   * @returns How many messages ran or had run; 0: the key is not parked.
   * @throws TallyError `unsupported`: no inbox, or no such consumer here · with the code and `id` of the message that failed
   * again (`handler`, `handler-deadline`, `decode`, `schema`, `store`, `fenced`) · `closed`
   */
  replay(of: ParkedKeyName): Promise<number>;
  /**
   * Gives up the messages of a key that are there now, or the one at `place`. Each is first marked as done with, so that a
   * redelivery is acked without running, then removed. With the last one the key is free.
   * @returns How many were removed.
   * @throws TallyError `fenced`, retryable: somebody is running the message · and as `list`
   */
  purge(of: ParkedKeyName & { readonly place?: number }): Promise<number>;
}

/** As long as a person's purge may take between claim and mark. */
const CLAIM_MS = 15_000;
/** Read at once: bodies may be large. */
const PAGE = 100;
const MOST = 1_000_000;

const most = integer(100, 1, MOST);
const maybe: Rule<string | null> = value<string | null>(null, "a string", (v): v is string => typeof v === "string");
const place: Rule<number | null> = { default: null, read: integer(0, 0, Number.MAX_SAFE_INTEGER).read };
const decode: Rule<Topic<never, unknown> | null> = value<Topic<never, unknown> | null>(
  null,
  "a topic, made by topic()",
  isTopic,
);

const any: Rule<unknown> = { default: null, read: (_, given) => given };
const SHOWN = { group: any, topic: any, key: any, messages: any, reason: any, parkedAt: any };

/** Parked keys of one inbox, for a person. */
export class KeysOfInbox implements ParkedKeys {
  readonly #store: InboxStore<unknown>;
  readonly #events: Events;
  readonly #replays: Replays;

  constructor(store: InboxStore<unknown>, events: Events, runners: Runners) {
    this.#store = store;
    this.#events = events;
    this.#replays = new Replays(store, events, runners);
  }

  async list(given?: Parameters<ParkedKeys["list"]>[0]): Promise<readonly ParkedKey[]> {
    const of = resolveOptions("parked.keys.list", given, { group: maybe, topic: maybe, most });
    return await this.#store.parked(of.group, of.topic, of.most);
  }

  async messages(given: Parameters<ParkedKeys["messages"]>[0]): Promise<readonly ParkedLetter[]> {
    const where = "parked.keys.messages";
    const { group, topic, key, ...o } = named(where, given, { most, decode });
    const found = await this.#store.parkedMessages(group, topic, key, o.most);
    return await Promise.all(found.map((each) => letter(each, o.decode)));
  }

  async replay(given: ParkedKeyName): Promise<number> {
    return await this.#replays.replay(named("parked.keys.replay", given, {}));
  }

  async purge(given: Parameters<ParkedKeys["purge"]>[0]): Promise<number> {
    const of = named("parked.keys.purge", given, { place });
    const { group, topic, key } = of;
    const purged = of.place === null ? await this.#purgeKey(of) : await this.#purgeOne(of, of.place);
    if (purged > 0) this.#events.emit({ type: "key-purged", topic, group, key, messages: purged });
    return purged;
  }

  /** Those of now: a key that fills as fast as it is purged would have no end. */
  async #purgeKey({ group, topic, key }: ParkedKeyName): Promise<number> {
    const there = await this.#store.parked(group, topic, MOST);
    const count = there.find((each) => each.key === key)?.messages ?? 0;
    let purged = 0;
    while (purged < count) {
      const page = await this.#store.parkedMessages(group, topic, key, Math.min(PAGE, count - purged));
      if (page.length === 0) break;
      for (const message of page) purged += await this.#giveUp(message);
    }
    return purged;
  }

  async #purgeOne({ group, topic, key }: ParkedKeyName, place: number): Promise<number> {
    const page = await this.#store.parkedMessages(group, topic, key, MOST);
    const message = page.find((each) => each.place === place);
    return message === undefined ? 0 : await this.#giveUp(message);
  }

  /**
   * The mark first: killed in between, a replay finds it done, and removes it. `done`, not `dead`: a redelivery of what is
   * dead publishes its dead letter, and a person has just decided that nothing more comes of it. The claim keeps out
   * whoever would run it at this moment.
   */
  async #giveUp({ group, topic, message, place }: ParkedPlace): Promise<number> {
    const { producer, id } = message;
    const ask = { group, topic, producer, id, bodyHash: fingerprint(message), behind: null };
    const [claim] = await this.#store.claim([ask], CLAIM_MS);
    const ours = claim?.state === "fresh" ? await this.#store.end(claim, { is: "done" }) : claim?.state !== "busy";
    if (!ours)
      throw new TallyError("fenced", `${topic} / ${group}: somebody is running ${id}; it was not purged`, {
        id,
        retryable: true,
      });
    return (await this.#store.unpark(place)) ? 1 : 0;
  }
}

/**
 * The name of a key, and `more`. What `list` shows beside the name is let through, so that it may be given back as it is;
 * a slip of the pen is not: a purge that overlooked `plase` would be one of the whole key.
 */
function named<More extends object>(where: string, given: ParkedKeyName, more: Bounds<More>): ParkedKeyName & More {
  const { group, topic, key } = given ?? {};
  if (typeof group !== "string" || typeof topic !== "string" || typeof key !== "string")
    throw new TallyError("bad-config", `${where} needs group, topic and key, each a string`);
  const own = resolveOptions<More>(where, given, { ...SHOWN, ...more });
  return { ...own, group, topic, key };
}

async function letter(parked: ParkedPlace, decode: Topic<never, unknown> | null): Promise<ParkedLetter> {
  const { message } = parkedDelivery(parked);
  const { id, producer, type, time, contentType, headers, body } = message;
  let decoded: unknown;
  try {
    if (decode !== null) decoded = await readMessage(decode, message);
  } catch (thrown) {
    decoded = TallyError.is(thrown) ? thrown : new TallyError("decode", describe(thrown), { cause: thrown });
  }
  const { place, parkedAt, reason } = parked;
  return { place, parkedAt, reason, id, producer, type, time, contentType, headers, body, decoded };
}
