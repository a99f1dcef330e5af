// One thing: the options of where topics live, their table of bounds, and what of it is made by whom.
import {
  type Bounds,
  choice,
  DEAD_LETTERS,
  entries,
  resolveOptions,
  type Rule,
  table,
  TallyError,
  text,
  value,
} from "@tallymq/core/spi";
import { LADDER } from "./delays.ts";

/** Arguments of a queue, an exchange or a binding. */
export type Arguments = Readonly<Record<string, string | number | boolean>>;

/**
 * What of a topic's exchange and queues this program makes.
 *
 * | | exchange | queues of the topic's `groups`, when publishing | the queue of a group that consumes here | bindings |
 * |---|---|---|---|---|
 * | `true` | made | made | made | made |
 * | `"exchange"` (a program that publishes) | made | nobody looks | looked for | – |
 * | `"queues"` (a program that consumes) | looked for | nobody looks | made | made |
 * | `"bindings"` | looked for | nobody looks | looked for | made |
 * | `"passive"` | compared | compared | compared | – |
 * | `false` (somebody else's) | looked for | looked for | looked for | – |
 *
 * What is made must be as Tally would make it, or it is a `topology` error; so must what is compared, and nothing is made
 * or changed by that. What is looked for must be there.
 */
export type Declare = boolean | "exchange" | "queues" | "bindings" | "passive";

/** Where one topic lives. */
export interface RabbitTopicOptions {
  /** @default the topic's name */
  readonly exchange?: string;
  /** `x-consistent-hash` needs the broker's plugin of that name. @default "fanout" */
  readonly exchangeType?: ExchangeType;
  /** More arguments of the exchange: `alternate-exchange`, `hash-header`. @default {} */
  readonly exchangeArguments?: Arguments;
  /** Of what is published. @default "" */
  readonly routingKey?: string;
  /** Of the groups' queues. @default the routing key; "#" on a topic exchange; "1" (its weight) on x-consistent-hash */
  readonly bindingKey?: string;
  /** Bindings of groups' queues, by group, where one with `bindingKey` is not it. @default {} */
  readonly bindings?: Readonly<Record<string, readonly RabbitBinding[]>>;
  /** One queue for all: published to through the default exchange, consumed by every group. Excludes the others. */
  readonly queue?: string;
  /** Queues of groups, by group, where they are not `<topic>.<group>`. @default {} */
  readonly queues?: Readonly<Record<string, string>>;
  /**
   * More arguments of its queues, `x-…`; they go before what Tally would give (the audit says where that loses messages).
   * @default {}
   */
  readonly queueArguments?: Arguments;
  /** What of it this program makes. @default that of {@link RabbitOptions} */
  readonly declare?: Declare;
}

/** Types of exchanges that a topic may be. */
export type ExchangeType = "fanout" | "direct" | "topic" | "headers" | "x-consistent-hash";

/** How a queue is bound to its topic's exchange. */
export interface RabbitBinding {
  /** @default "" */
  readonly routingKey?: string;
  /** Of a headers exchange: `x-match`, and the headers. @default {} */
  readonly arguments?: Arguments;
}

export interface ResolvedBinding {
  readonly routingKey: string;
  readonly arguments: Arguments;
}

export interface ResolvedTopic {
  readonly exchange: string | null;
  readonly exchangeType: ExchangeType;
  readonly exchangeArguments: Arguments;
  readonly routingKey: string;
  readonly bindingKey: string | null;
  readonly bindings: ReadonlyMap<string, readonly ResolvedBinding[]>;
  readonly queue: string | null;
  readonly queues: ReadonlyMap<string, string>;
  readonly queueArguments: Arguments;
  readonly declare: Declare;
}

/** What is done about one thing on the broker. `compare` makes nothing, and wants it to be as Tally would make it. */
export type Work = "make" | "compare" | "look" | "leave";

export interface Works {
  readonly exchange: Work;
  /** The queues of a topic's groups, for those who publish. */
  readonly groups: Work;
  /** The queue of a group that consumes. */
  readonly own: Work;
  readonly bindings: "make" | "leave";
}

const WORKS: Readonly<Record<`${Declare}`, Works>> = {
  true: { exchange: "make", groups: "make", own: "make", bindings: "make" },
  exchange: { exchange: "make", groups: "leave", own: "look", bindings: "leave" },
  queues: { exchange: "look", groups: "leave", own: "make", bindings: "make" },
  bindings: { exchange: "look", groups: "leave", own: "look", bindings: "make" },
  passive: { exchange: "compare", groups: "compare", own: "compare", bindings: "leave" },
  false: { exchange: "look", groups: "look", own: "look", bindings: "leave" },
};

export function worksOf({ declare }: ResolvedTopic): Works {
  return WORKS[`${declare}`];
}

const DECLARES: readonly Declare[] = [true, false, "exchange", "queues", "bindings", "passive"];

export function declareRule<T extends Declare | null>(fallback: T): Rule<Declare | T> {
  return value<Declare | T>(
    fallback,
    `one of ${DECLARES.map((one) => JSON.stringify(one)).join(", ")}`,
    (v): v is Declare => DECLARES.includes(v as Declare),
  );
}

/** A routing key may be empty. */
const routing: Rule<string | null> = {
  default: null,
  read: (name, given) => (given === "" ? "" : text("").read(name, given)),
};
const name: Rule<string | null> = { default: null, read: readName };

const queues: Rule<ReadonlyMap<string, string>> = table(readName);

const args: Rule<Arguments> = { default: Object.freeze({}), read: readArguments };

const queueArguments: Rule<Arguments> = {
  default: Object.freeze({}),
  read(name, given) {
    const read = readArguments(name, given);
    const odd = Object.keys(read).find((key) => !key.startsWith("x-"));
    if (odd !== undefined)
      throw new TallyError("bad-config", `${name}: arguments of queues begin with "x-"; got ${JSON.stringify(odd)}`);
    if (read["x-queue-type"] !== undefined) refuseStream(`${name}: x-queue-type`, read["x-queue-type"]);
    return read;
  },
};

const bindings: Rule<ReadonlyMap<string, readonly ResolvedBinding[]>> = table((name, list) => {
  if (!Array.isArray(list) || list.length === 0)
    throw new TallyError("bad-config", `${name} must be a list of at least one binding`);
  return list.map((one, i) => {
    const o = resolveOptions(`${name}[${i}]`, one as object, { routingKey: routing, arguments: args });
    return Object.freeze({ ...o, routingKey: o.routingKey ?? "" });
  });
});

type Read = Omit<ResolvedTopic, "routingKey" | "declare"> & {
  readonly routingKey: string | null;
  readonly declare: Declare | null;
};

const BOUNDS: Bounds<Read> = {
  exchange: name,
  exchangeType: choice("fanout", "direct", "topic", "headers", "x-consistent-hash"),
  exchangeArguments: args,
  routingKey: routing,
  bindingKey: routing,
  bindings,
  queue: name,
  queues,
  queueArguments,
  declare: declareRule(null),
};

/** @throws TallyError `bad-config` */
export function readTopics(name: string, given: unknown, declare: Declare): ReadonlyMap<string, ResolvedTopic> {
  const topics = table((where, o) => readTopic(where, o, declare)).read(name, given);
  refuseLoops(topics, readTopic("topic", {}, declare));
  return topics;
}

/** @param declare For what says nothing itself. @throws TallyError `bad-config` */
export function readTopic(where: string, given: unknown, declare: Declare): ResolvedTopic {
  const o = resolveOptions(where, given as object, BOUNDS);
  if (o.queue !== null) {
    for (const key of ["exchange", "routingKey", "bindingKey"] as const) {
      if (o[key] !== null)
        throw new TallyError(
          "bad-config",
          `${where}: queue excludes ${key}: a message reaches the queue through the default exchange`,
        );
    }
    if (o.queues.size > 0)
      throw new TallyError("bad-config", `${where}: queue excludes queues: it is the queue of every group`);
    if (o.bindings.size > 0)
      throw new TallyError(
        "bad-config",
        `${where}: queue excludes bindings: it is reached through the default exchange`,
      );
  }
  if (
    o.exchangeType === "direct" &&
    o.queue === null &&
    (o.routingKey ?? "") === "" &&
    o.bindingKey === null &&
    o.bindings.size === 0
  )
    throw new TallyError("bad-config", `${where}: exchangeType "direct" needs routingKey`);
  return Object.freeze({ ...o, routingKey: o.routingKey ?? "", declare: o.declare ?? declare });
}

/** What Tally's promises need, a stream has not. @throws TallyError `bad-config` */
export function refuseStream(what: string, type: unknown): void {
  if (type === "stream") throw new TallyError("bad-config", `${what} cannot be "stream": ${STREAM}`);
}

/** The clear word. */
export const STREAM: string =
  "a stream keeps what was acked, and has no redelivery, no delivery limit and no dead letters: Tally consumes no streams; give the group a quorum queue (bind one to the same exchange)";

/**
 * A dead letter that gets back into the queue that it left would go round for ever, and never be anybody's.
 * @throws TallyError `bad-config`
 */
function refuseLoops(topics: ReadonlyMap<string, ResolvedTopic>, elsewhere: ResolvedTopic): void {
  for (const [letters, to] of topics) {
    if (!letters.endsWith(`.${DEAD_LETTERS}`)) continue;
    // `<topic>.<group>`, and both may have dots.
    const parts = letters.split(".").slice(0, -1);
    for (let cut = 1; cut < parts.length; cut++) {
      const [topic, group] = [parts.slice(0, cut).join("."), parts.slice(cut).join(".")];
      const from = topics.get(topic) ?? elsewhere;
      const source = from.queue ?? from.queues.get(group) ?? `${topic}.${group}`;
      const target = to.queue ?? to.queues.get(DEAD_LETTERS);
      const sameExchange =
        from.queue === null &&
        to.queue === null &&
        (from.exchange ?? topic) === (to.exchange ?? letters) &&
        (to.exchangeType === "fanout" || from.routingKey === to.routingKey);
      if (target !== source && !sameExchange) continue;
      throw new TallyError(
        "bad-config",
        `rabbitmq: topics.${letters}: dead letters of group ${JSON.stringify(group)} would go back into its own queue, ${JSON.stringify(source)}${sameExchange ? `, through exchange ${JSON.stringify(from.exchange ?? topic)}` : ""}`,
      );
    }
  }
}

function readName(where: string, given: unknown): string {
  const name = text("").read(where, given);
  if (name.startsWith(LADDER))
    throw new TallyError("bad-config", `${where} must not begin with ${LADDER}: so the queues of delays are named`);
  return name;
}

function readArguments(name: string, given: unknown): Arguments {
  const all = entries(name, given);
  for (const [key, one] of all) {
    if (typeof one === "string" || typeof one === "boolean" || (typeof one === "number" && Number.isSafeInteger(one)))
      continue;
    throw new TallyError(
      "bad-config",
      `${name}.${key.slice(0, 64)} must be a string, a whole number, true or false; got a ${typeof one}`,
    );
  }
  return Object.freeze(Object.fromEntries(all) as Arguments);
}
