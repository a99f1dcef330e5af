import { type Delivery, TallyError, type TopicPlan } from "@tallymq/core/spi";
import { acks, type Mutant, type Wrong } from "./broken.ts";

const CREDIT = "credit is never exceeded";
const SHARED = "two receivers of one group share its messages";
const PAUSED = "a paused lane delivers nothing until it is resumed";
const STOPPED = "stop ends deliveries, while settling still works";
const ACKED = "an ack removes the message from its group";
const RELEASED = "what is released comes again";
const TWICE = "settling twice is a no-op";
const EPOCH = "a settlement of an earlier epoch is a no-op";
const COUNT = "a redelivery has a higher count";
const DECLARED = "declare may be repeated, in this session and in another, and loses nothing";
const BACKLOG = "the backlog counts what waits and what is out";
const ORDER = "an ordered topic delivers each key in the order of sending, also when a second consumer takes over";
const CUT = "a lost receiver says so once; what it had not settled comes again, and no more than that";

const drops: Wrong = { receiver: () => ({ settle: () => {} }) };

export const receivingMutants: readonly Mutant[] = [
  {
    name: "credit is exceeded by one",
    caughtBy: CREDIT,
    wrong: { subscription: (asked) => ({ ...asked, credit: asked.credit + 1 }) },
  },
  {
    name: "credit is not given back",
    caughtBy: CREDIT,
    wrong: {
      receiver(sound) {
        let settled = 0;
        return { settle: (batch) => sound.settle(batch.filter(() => ++settled <= 10)) };
      },
    },
  },
  {
    name: "all groups are one",
    caughtBy: "two groups each get every message",
    wrong: { subscription: (asked) => ({ ...asked, group: "a" }) },
  },
  {
    name: "each receiver is a group",
    caughtBy: SHARED,
    wrong: (() =>
      ((n) => ({ subscription: (asked) => ({ ...asked, group: `${asked.group}-${++n}` }) }) satisfies Wrong)(0))(),
  },
  {
    name: "deliveries come twice",
    caughtBy: SHARED,
    wrong: { receiverEvents: (sound) => ({ deliver: (batch) => (sound.deliver(batch), sound.deliver(batch)) }) },
  },
  { name: "pause does nothing", caughtBy: PAUSED, wrong: { receiver: () => ({ pause: () => {} }) } },
  { name: "resume does nothing", caughtBy: PAUSED, wrong: { receiver: () => ({ resume: () => {} }) } },
  { name: "stop does nothing", caughtBy: STOPPED, wrong: { receiver: () => ({ stop: () => Promise.resolve() }) } },
  {
    name: "stop ends settling too",
    caughtBy: STOPPED,
    wrong: { receiver: (sound) => ({ stop: async () => await sound[Symbol.asyncDispose]() }) },
  },
  { name: "acks do not reach the broker", caughtBy: ACKED, wrong: drops },
  {
    name: "an ack is a release",
    caughtBy: ACKED,
    wrong: {
      receiver: (sound) => ({
        settle: (batch) => sound.settle(batch.map(({ delivery }) => ({ kind: "release", delivery, afterMs: 0 }))),
      }),
    },
  },
  {
    name: "what is not settled is acked at the end",
    caughtBy: "what is not settled comes again after its receiver is disposed of",
    wrong: {
      receiver: (sound, _, out) => ({
        [Symbol.asyncDispose]: () => (sound.settle(acks(out)), sound[Symbol.asyncDispose]()),
      }),
    },
  },
  { name: "deliveries are not counted", caughtBy: COUNT, wrong: { delivery: (d) => ({ ...d, count: 1 }) } },
  { name: "the count starts at zero", caughtBy: COUNT, wrong: { delivery: (d) => ({ ...d, count: d.count! - 1 }) } },
  {
    name: "a release is an ack",
    caughtBy: RELEASED,
    wrong: { receiver: (sound) => ({ settle: (batch) => sound.settle(acks(batch.map((b) => b.delivery))) }) },
  },
  {
    name: "releases are forgotten",
    caughtBy: RELEASED,
    wrong: { receiver: (sound) => ({ settle: (batch) => sound.settle(batch.filter(({ kind }) => kind === "ack")) }) },
  },
  {
    name: "acks are merged over a gap",
    caughtBy: "acks are merged only over what is fully settled",
    wrong: {
      receiver: (sound, _, out) => ({
        settle(batch) {
          // `out` is in the order of delivery: everything up to the last one named goes along.
          const last = batch.at(-1)?.delivery;
          const all = [...out];
          sound.settle(acks(all.slice(0, all.indexOf(last!) + 1)));
        },
      }),
    },
  },
  {
    name: "an ack covers only the last of its batch",
    caughtBy: "acks are merged only over what is fully settled",
    wrong: { receiver: (sound) => ({ settle: (batch) => sound.settle(batch.slice(-1)) }) },
  },
  {
    name: "a second ack takes the next delivery",
    caughtBy: TWICE,
    wrong: {
      receiver: (sound, _, out) => ({
        settle(batch) {
          for (const settlement of batch)
            sound.settle(out.has(settlement.delivery) ? [settlement] : acks([...out].slice(0, 1)));
        },
      }),
    },
  },
  {
    name: "a second ack ends the session",
    caughtBy: TWICE,
    wrong: {
      receiver: (sound, events, out) => ({
        settle(batch) {
          if (batch.some(({ delivery }) => !out.has(delivery)))
            events.lost(new TallyError("session-lost", "unknown delivery tag"));
          sound.settle(batch);
        },
      }),
    },
  },
  {
    name: "an ack of an earlier epoch takes what has the same handle now",
    caughtBy: EPOCH,
    wrong: {
      receiver: (sound, _, out) => ({
        settle: (batch) =>
          sound.settle(
            acks(batch.map(({ delivery }) => [...out].find((d) => d.message.id === delivery.message.id) ?? delivery)),
          ),
      }),
    },
  },
  { name: "all sessions have one epoch", caughtBy: EPOCH, wrong: { delivery: (d) => ({ ...d, epoch: 1 }) } },
  {
    name: "settlements of the last turns are dropped at the end",
    caughtBy: "a receiver flushes its settlements before it leaves",
    wrong: {
      receiver(sound) {
        let gone = false;
        return {
          settle: (batch) => void setTimeout(() => gone || sound.settle(batch), 10),
          [Symbol.asyncDispose]: () => ((gone = true), sound[Symbol.asyncDispose]()),
        };
      },
    },
  },
  {
    name: "a second declare is an error",
    caughtBy: DECLARED,
    wrong: {
      admin(sound) {
        const known = new Set<string>();
        return {
          declare: (topics, signal) =>
            topics.some(({ name }) => known.has(name) || !known.add(name))
              ? Promise.reject(new TallyError("topology", "it exists"))
              : sound.declare(topics, signal),
        };
      },
    },
  },
  {
    name: "a second declare makes no new group",
    caughtBy: "a group that is declared later gets what is sent from then on",
    wrong: (() => {
      const known = new Map<string, TopicPlan>();
      return { declared: (plan) => known.get(plan.name) ?? (known.set(plan.name, plan), plan) } satisfies Wrong;
    })(),
  },
  {
    name: "the backlog leaves out what is out",
    caughtBy: BACKLOG,
    wrong: (() => {
      let out = 0;
      return {
        receiverEvents: (sound) => ({ deliver: (batch) => ((out += batch.length), sound.deliver(batch)) }),
        admin: (sound) => ({
          backlog: async (topic, group, signal) => Math.max(0, (await sound.backlog(topic, group, signal)) - out),
        }),
      } satisfies Wrong;
    })(),
  },
  {
    name: "the backlog is always empty",
    caughtBy: BACKLOG,
    wrong: { admin: () => ({ backlog: () => Promise.resolve(0) }) },
  },
  {
    name: "an ordered topic is an ordinary one",
    caughtBy: ORDER,
    wrong: {
      declared: (plan) => ({ ...plan, ordered: false }),
      subscription: (asked) => ({ ...asked, topic: { ...asked.topic, ordered: false } }),
    },
  },
  {
    name: "deliveries are turned round",
    caughtBy: ORDER,
    wrong: {
      receiverEvents(sound) {
        let held: Delivery[] = [];
        return {
          deliver(batch) {
            held.push(...batch);
            setImmediate(() => {
              if (held.length > 0) sound.deliver(held.toReversed());
              held = [];
            });
          },
        };
      },
    },
  },
  { name: "a lost receiver says nothing", caughtBy: CUT, wrong: { receiverEvents: () => ({ lost: () => {} }) } },
  {
    name: "a lost receiver says so twice",
    caughtBy: CUT,
    wrong: {
      receiverEvents: (sound) => ({ lost: (error) => (sound.lost(error), void setTimeout(sound.lost, 5, error)) }),
    },
  },
  {
    name: "a place changes with each delivery",
    caughtBy: "a message has the same place each time it is delivered",
    wrong: (() => {
      let n = 0;
      return { delivery: (d) => ({ ...d, place: `0/${n++}` }) } satisfies Wrong;
    })(),
  },
];
