import type { Channel } from "amqplib";
import { TallyError } from "@tallymq/core/spi";
import { classify } from "./errors.ts";
import type { ExchangePlan, QueuePlan } from "./plan.ts";

/**
 * What a queue or exchange on the broker is like, asked over AMQP without a chance that anything is made.
 *
 * A passive declaration says whether it is there, and compares nothing. An active one compares, and makes what is missing:
 * so these ask with an argument that nobody can make anything with (`x-max-age` is of streams only, `alternate-exchange`
 * is a text), and which the broker looks at last. Each answer names one setting that differs, as it is; with that put into
 * the question the next one names another. Asking needs the permission to configure the name, as making it would.
 */

/** `durable`, `auto_delete`, `type` and arguments, as the broker names them. */
export type Settings = Readonly<Record<string, string | number | boolean | null>>;

export interface Difference {
  readonly setting: string;
  /** Null: not set. */
  readonly expected: string | number | boolean | null;
  readonly got: string | number | boolean | null;
}

/**
 * - `missing`: nothing of that name.
 * - `hidden`: it is there; what it is like is not for this user, or the broker answers in other words.
 * - `known`: it is there, and these are all differences from what was expected.
 */
export type Answer =
  | { readonly is: "missing" }
  | { readonly is: "hidden"; readonly why: string }
  | { readonly is: "known"; readonly differences: readonly Difference[] };

/** What one question was answered with. */
export type Reply =
  | { readonly is: "same" }
  | { readonly is: "missing" }
  | { readonly is: "differs"; readonly setting: string; readonly got: string | number | boolean | null }
  | { readonly is: "hidden"; readonly why: string };

// A queue has fewer settings than this; what goes on longer goes in a circle.
const MOST_QUESTIONS = 24;
const BAIT = { queue: "x-max-age", exchange: "alternate-exchange" } as const;

/** Opens a channel for one question: most answers end it. */
export type Opener = () => Promise<{ readonly raw: Channel; close(): Promise<void> }>;

/** @throws TallyError what ends more than a question: no connection */
export async function askQueue(open: Opener, plan: Pick<QueuePlan, "name" | "arguments">): Promise<Answer> {
  return await ask("queue", open, plan.name, { durable: true, auto_delete: false, ...plan.arguments }, (raw, now) => {
    const { durable, auto_delete: autoDelete, ...rest } = now;
    return raw.assertQueue(plan.name, {
      durable: durable === true,
      autoDelete: autoDelete === true,
      arguments: { ...withoutNulls(rest), [BAIT.queue]: "1D" },
    });
  });
}

export async function askExchange(open: Opener, plan: ExchangePlan): Promise<Answer> {
  const { "alternate-exchange": _alternate, ...args } = plan.arguments;
  const expected = { type: plan.type, durable: true, auto_delete: false, internal: false, ...args };
  return await ask("exchange", open, plan.name, expected, (raw, now) => {
    const { type, durable, auto_delete: autoDelete, internal, ...rest } = now;
    return raw.assertExchange(plan.name, String(type), {
      durable: durable === true,
      autoDelete: autoDelete === true,
      internal: internal === true,
      arguments: { ...withoutNulls(rest), [BAIT.exchange]: true },
    });
  });
}

async function ask(
  what: "queue" | "exchange",
  open: Opener,
  name: string,
  expected: Settings,
  question: (raw: Channel, now: Settings) => Promise<unknown>,
): Promise<Answer> {
  const now: Record<string, string | number | boolean | null> = { ...expected };
  const differences: Difference[] = [];
  for (let i = 0; i < MOST_QUESTIONS; i++) {
    const reply = await one(what, open, name, (raw) => question(raw, now));
    if (reply.is === "same") return { is: "known", differences };
    if (reply.is !== "differs") return reply;
    const { setting, got } = reply;
    // The same one twice: the answer was not understood.
    if (differences.some((known) => known.setting === setting))
      return { is: "hidden", why: `the broker's answer about ${setting} is not understood` };
    differences.push({ setting, expected: expected[setting] ?? null, got });
    now[setting] = got;
  }
  return { is: "hidden", why: "it differs in too much" };
}

async function one(
  what: "queue" | "exchange",
  open: Opener,
  name: string,
  question: (raw: Channel) => Promise<unknown>,
): Promise<Reply> {
  const channel = await open();
  try {
    await question(channel.raw);
    return { is: "same" };
  } catch (thrown) {
    const reply = readReply(what, thrown);
    if (reply !== null) return reply;
    throw classify(thrown, `${what} ${JSON.stringify(name)}`, "declaring");
  } finally {
    void channel.close();
  }
}

/** Null: that is no answer to a question. */
export function readReply(what: "queue" | "exchange", thrown: unknown): Reply | null {
  const { code, message } = (thrown ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  if (TallyError.is(thrown) || typeof message !== "string") return null;
  if (code === 403) return { is: "hidden", why: "this user has no permission to configure it, which comparing needs" };
  if (code === 404) return { is: "missing" };
  if (code !== 406) return null;
  // Of the bait: nothing of that name could be made with it.
  if (/invalid (?:arg|type)/.test(message) && message.includes(`'${BAIT[what]}'`)) return { is: "missing" };
  const found = /inequivalent arg '([^']+)' for (?:queue|exchange) .*? but current is (.*?)"?$/s.exec(message);
  if (found === null) return null;
  const setting = found[1]!;
  // The broker compares it last: all else is as asked for.
  if (what === "exchange" && setting === BAIT.exchange) return { is: "same" };
  return { is: "differs", setting, got: readValue(found[2]!) };
}

/** `'text'`, `the value '5' of type 'signedint'`, or `none`. */
function readValue(text: string): string | number | boolean | null {
  if (text === "none") return null;
  const [, typed, type, plain] = /^(?:the value '(.*)' of type '(\w+)'|'(.*)')$/s.exec(text) ?? [];
  if (typed !== undefined && (type === "longstr" || type === "shortstr")) return typed;
  const value = typed ?? plain ?? text;
  if (value === "true" || value === "false") return value === "true";
  return /^-?\d{1,15}$/.test(value) ? Number(value) : value;
}

function withoutNulls(settings: Settings): Record<string, string | number | boolean> {
  return Object.fromEntries(Object.entries(settings).filter(([, v]) => v !== null)) as Record<
    string,
    string | number | boolean
  >;
}
