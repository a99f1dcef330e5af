import {
  type Consumer,
  type ConsumerBuilder,
  type ConsumerOptions,
  deadLetter,
  type Handler,
  type PublishOptions,
  type Tally,
  TallyError,
  type TallyOptions,
  type Topic,
} from "@tallymq/core";
import { memoryInbox } from "@tallymq/testkit";
import type { Wrong } from "./broken.ts";
import { letterMutants } from "./letter-mutants.ts";
import { receivingMutants } from "./receiving-mutants.ts";
import { sendingMutants } from "./sending-mutants.ts";
import { sessionMutants } from "./session-mutants.ts";

/** One thing that core, or the adapter under it, does wrong; the case of this name has to notice. */
export interface TallyMutant {
  readonly name: string;
  readonly caughtBy: string;
  /** In the adapter. */
  readonly wrong?: Wrong;
  /** In core. */
  readonly options?: (given: TallyOptions) => TallyOptions;
  readonly tally?: (sound: Tally) => Partial<Tally>;
}

type AnyTopic = Topic<never, unknown>;

/** A builder whose handlers, or whose consumer, are wrapped. */
function consumers(
  sound: Tally,
  wrap: {
    handler?: (of: Handler<unknown>) => Handler<unknown>;
    topic?: (of: AnyTopic) => AnyTopic;
    consumer?: (of: Consumer) => Partial<Consumer>;
    options?: object;
  },
): Partial<Tally> {
  return {
    // No case asks for `tx`, which is the other way to call it.
    consumer: ((group: string, given?: ConsumerOptions) => {
      const builder = sound.consumer(group, { ...given, ...wrap.options });
      const wrapped: ConsumerBuilder = {
        on(topic, handler) {
          const of = handler as Handler<unknown>;
          builder.on((wrap.topic?.(topic) ?? topic) as AnyTopic, wrap.handler?.(of) ?? of);
          return wrapped;
        },
        async start() {
          const consumer = await builder.start();
          const own: Consumer = {
            group,
            pause: () => consumer.pause(),
            resume: () => consumer.resume(),
            close: (options) => consumer.close(options),
            [Symbol.asyncDispose]: () => consumer.close(),
          };
          return { ...own, ...wrap.consumer?.(own) };
        },
      };
      return wrapped;
    }) as Tally["consumer"],
  };
}

function error(code: "deadline" | "too-large", mayArrive: boolean): TallyError {
  return new TallyError(code, "said wrongly", { mayArrive });
}

function without(name: "cause" | "signal", options: PublishOptions | undefined): PublishOptions {
  const copy = { ...options };
  delete copy[name];
  return copy;
}

function adapter(name: string): Wrong {
  const found = [...sendingMutants, ...sessionMutants, ...receivingMutants].find((m) => m.name === name);
  if (found === undefined) throw new Error(`no mutant ${name}`);
  return found.wrong;
}

let copies = 0;

export const tallyMutants: readonly TallyMutant[] = [
  {
    name: "a handler is called twice",
    caughtBy: "what is published is handled once, with its envelope",
    tally: (t) =>
      consumers(t, { handler: (of) => async (body, context) => (await of(body, context), await of(body, context)) }),
  },
  {
    name: "headers are not sent",
    caughtBy: "what is published is handled once, with its envelope",
    tally: (t) => ({ publish: (topic, body, o) => t.publish(topic, body, { ...o, headers: {} }) }),
  },
  {
    name: "acks do not reach the broker",
    caughtBy: "what is published is handled once, with its envelope",
    wrong: adapter("acks do not reach the broker"),
  },
  {
    name: "all receipts have one id",
    caughtBy: "a receipt names the message and what the broker vouched for",
    tally: (t) => ({ publish: async (topic, body, o) => ({ ...(await t.publish(topic, body, o)), id: "x" }) }),
  },
  {
    name: "one bad entry rejects them all",
    caughtBy: "publishMany gives one receipt or error for each entry",
    tally: (t) => ({
      publishMany: (topic, entries) => Promise.all(entries.map(({ body, ...o }) => t.publish(topic, body, o))),
    }),
  },
  {
    name: "bodies are sent unchecked",
    caughtBy: "a schema holds on both ends: wrong bodies are not sent, and handlers get its output",
    tally: (t) => ({ publish: (topic, body, o) => t.publish({ ...topic, schema: null }, body, o) }),
  },
  {
    name: "handlers get what was sent, unchecked",
    caughtBy: "a schema holds on both ends: wrong bodies are not sent, and handlers get its output",
    tally: (t) => consumers(t, { topic: (of) => ({ ...of, schema: null }) }),
  },
  {
    name: "the body is read after the call",
    caughtBy: "the bytes codec carries bytes as they are",
    tally: (t) => ({ publish: async (topic, body, o) => (await Promise.resolve(), await t.publish(topic, body, o)) }),
  },
  {
    name: "an id in flight is another message",
    caughtBy: "an id in flight is joined by the same body, and in conflict with another",
    tally: (t) => ({ publish: (topic, body, o) => t.publish(topic, body, { ...o, id: `${o?.id}-${++copies}` }) }),
  },
  {
    name: "the window is wider than asked for",
    caughtBy: "at most the window is on its way; publish waits for the rest",
    options: (o) => ({ ...o, publish: { ...o.publish, window: 60 } }),
  },
  {
    name: "what is unroutable is accepted",
    caughtBy: "unroutable rejects, definitely, and only that message",
    wrong: adapter("unroutable counts as accepted"),
  },
  {
    name: "what is too large may arrive",
    caughtBy: "what is too large is rejected, definitely, and only that message",
    tally: (t) => ({
      publish: (topic, body, o) => t.publish(topic, body, o).catch(() => Promise.reject(error("too-large", true))),
    }),
  },
  {
    name: "the cause is forgotten",
    caughtBy: "a message published because of another carries its trace on",
    tally: (t) => ({ publish: (topic, body, o) => t.publish(topic, body, without("cause", o)) }),
  },
  {
    name: "signals are not heard",
    caughtBy: "an aborted publish that never left is definite and never arrives; one that left may arrive",
    tally: (t) => ({ publish: (topic, body, o) => t.publish(topic, body, without("signal", o)) }),
  },
  {
    name: "there is one attempt",
    caughtBy: "a handler that fails twice is tried again in place, and its message is settled once",
    tally: (t) => consumers(t, { options: { attempts: 1 } }),
  },
  {
    name: "what a handler throws is an ack",
    caughtBy: "when its attempts are used up, a message comes again: as a delayed copy, or released",
    tally: (t) =>
      consumers(t, {
        handler: (of) => async (body, context) => await Promise.resolve(of(body, context)).catch(() => {}),
      }),
  },
  {
    name: "what is abandoned is acked",
    caughtBy: "a message whose consumer goes away in its handler is handled by another",
    wrong: adapter("what is not settled is acked at the end"),
  },
  {
    name: "keys are not kept apart",
    caughtBy: "handlers of one key run one after the other, those of different keys side by side",
    tally: (t) => ({
      publish: (topic, body, o) => t.publish({ ...topic, key: null }, body, o),
      ...consumers(t, {
        handler: (of) => (body, context) =>
          of(body, Object.assign(Object.create(context as object) as typeof context, { key: "k" })),
      }),
    }),
  },
  {
    name: "there is one lane",
    caughtBy: "handlers of one key run one after the other, those of different keys side by side",
    tally: (t) => consumers(t, { options: { lanes: 1 } }),
  },
  {
    name: "the head of a key that failed is given up, and the next of the key runs",
    caughtBy:
      "a head that failed is parked with what follows, more than the prefetch; other keys go on, and a replay keeps the order",
    tally: (t) => consumers(t, { options: { onError: () => deadLetter("given up") } }),
  },
  {
    name: "each member parks for itself",
    caughtBy: "a key that one member of the group has parked does not run at another, until it is replayed",
    options: (o) => ({ ...o, inbox: memoryInbox() as never }),
  },
  {
    name: "groups take from one another",
    caughtBy: "each group handles every message, and members of a group share",
    wrong: { subscription: (asked) => ({ ...asked, group: "g" }) },
  },
  {
    name: "pause does nothing",
    caughtBy: "a paused consumer starts no handler, and goes on when resumed",
    tally: (t) => consumers(t, { consumer: () => ({ pause: () => {} }) }),
  },
  {
    name: "resume does nothing",
    caughtBy: "a paused consumer starts no handler, and goes on when resumed",
    tally: (t) => consumers(t, { consumer: () => ({ resume: () => {} }) }),
  },
  {
    name: "nothing guards against a wrong schema",
    caughtBy: "a member whose schema is wrong leaves the topic, and one whose schema is right gets it all",
    tally: (t) => consumers(t, { options: { schemaGuard: false } }),
  },
  ...letterMutants,
  {
    name: "close waits for nobody",
    caughtBy: "close lets handlers finish and their publishes drain, then rejects",
    tally: (t) => ({ close: () => t.close({ within: 1 }) }),
  },
  {
    name: "doubt counts as accepted (kill)",
    caughtBy: "through a kill -9 and a restart every publish resolves, and nothing accepted is lost",
    wrong: adapter("doubt counts as accepted"),
  },
  {
    name: "doubt counts as accepted (cut)",
    caughtBy: "through cuts every publish resolves, and nothing accepted is lost",
    wrong: adapter("doubt counts as accepted"),
  },
  {
    name: "a lost receiver says nothing",
    caughtBy: "through cuts every publish resolves, and nothing accepted is lost",
    wrong: adapter("a lost receiver says nothing"),
  },
  {
    name: "deliveries are turned round",
    caughtBy: "first effects of an ordered key keep the order of publish across cuts",
    wrong: adapter("deliveries are turned round"),
  },
  {
    name: "what is in doubt is not sent again",
    caughtBy: "what is in doubt is sent again under the same id",
    wrong: adapter("doubt counts as accepted"),
  },
  {
    name: "a deadline is never definite",
    caughtBy: "while the broker is away a deadline passes, definitely, and later publishes get through",
    tally: (t) => ({
      publish: (topic, body, o) => t.publish(topic, body, o).catch(() => Promise.reject(error("deadline", true))),
    }),
  },
  {
    name: "nobody connects again",
    caughtBy: "a tally opens while the broker is away, and works once it is back",
    options: (o) => ({ ...o, reconnect: { min: "60s", max: "600s" } }),
  },
  {
    name: "a nack counts as an ack",
    caughtBy: "a nack is asked again until the message is accepted",
    wrong: adapter("a nack counts as an ack"),
  },
  {
    name: "blocked is not said",
    caughtBy: "while publishers are blocked publish waits, and consumers go on",
    wrong: adapter("blocked is not said"),
  },
];
