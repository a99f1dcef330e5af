import type {
  AdminPort,
  Broker,
  Delivery,
  Host,
  Outgoing,
  Receiver,
  ReceiverEvents,
  Sender,
  SenderEvents,
  Settlement,
  Subscription,
  TopicPlan,
  Transport,
  Verdict,
} from "@tallymq/core/spi";
import type { Rig } from "@tallymq/testkit/conformance";

export type Report = (index: number, verdict: Verdict) => void;

/** One thing that an adapter does wrong; the case of this name has to notice. */
export interface Mutant {
  /** What is wrong. */
  readonly name: string;
  readonly caughtBy: string;
  readonly wrong: Wrong;
}

/** Where the fault sits; each is called in place of the sound adapter, which it may use. */
export interface Wrong {
  readonly transport?: (sound: Transport, host: Host, again: () => Transport) => Partial<Transport>;
  readonly sender?: (sound: Sender, events: SenderEvents) => Partial<Sender>;
  readonly senderEvents?: (sound: SenderEvents) => Partial<SenderEvents>;
  readonly outgoing?: (message: Outgoing) => Outgoing;
  readonly verdict?: (index: number, verdict: Verdict, report: Report, batch: readonly Outgoing[]) => void;
  readonly subscription?: (asked: Subscription) => Subscription;
  readonly receiver?: (sound: Receiver, events: ReceiverEvents, out: ReadonlySet<Delivery>) => Partial<Receiver>;
  readonly receiverEvents?: (sound: ReceiverEvents) => Partial<ReceiverEvents>;
  readonly delivery?: (delivery: Delivery) => Delivery;
  readonly declared?: (plan: TopicPlan) => TopicPlan;
  readonly admin?: (sound: AdminPort) => Partial<AdminPort>;
}

/** The same rig over an adapter that is wrong in one thing. */
export function brokenRig(rig: Rig, wrong: Wrong): Rig {
  return { ...rig, name: `broken ${rig.name}`, broker: () => brokenBroker(rig.broker(), wrong) };
}

export function brokenBroker(broker: Broker, wrong: Wrong): Broker {
  return { name: broker.name, open: (host) => brokenTransport(broker, host, wrong) };
}

function brokenTransport(broker: Broker, host: Host, wrong: Wrong): Transport {
  const sound = broker.open(host);
  const plan = wrong.declared ?? ((p: TopicPlan) => p);
  const admin: AdminPort = {
    declare: (topics, signal) => sound.admin.declare(topics.map(plan), signal),
    declareDelays: (topic, upToMs, signal) => sound.admin.declareDelays(plan(topic), upToMs, signal),
    backlog: (topic, group, signal) => sound.admin.backlog(topic, group, signal),
  };
  const transport: Transport = {
    name: sound.name,
    traits: sound.traits,
    admin: { ...admin, ...wrong.admin?.(admin) },
    halfMessages: sound.halfMessages,
    audit: sound.audit,
    members: sound.members,
    openSender: async (events, signal) => {
      const told: SenderEvents = { ...events, ...wrong.senderEvents?.(events) };
      return brokenSender(await sound.openSender(told, signal), told, wrong);
    },
    openReceiver: async (subscription, events, signal) =>
      await brokenReceiver(sound, subscription, events, signal, wrong),
    [Symbol.asyncDispose]: () => sound[Symbol.asyncDispose](),
  };
  return { ...transport, ...wrong.transport?.(transport, host, () => broker.open(host)) };
}

function brokenSender(sound: Sender, events: SenderEvents, wrong: Wrong): Sender {
  const sender: Sender = {
    lane: (message, kept) => sound.lane(message, kept),
    kept: (lane) => sound.kept(lane),
    send(lane, given, report) {
      const batch = wrong.outgoing === undefined ? given : given.map(wrong.outgoing);
      sound.send(lane, batch, (index, verdict) =>
        wrong.verdict === undefined ? report(index, verdict) : wrong.verdict(index, verdict, report, batch),
      );
    },
    [Symbol.asyncDispose]: () => sound[Symbol.asyncDispose](),
  };
  return { ...sender, ...wrong.sender?.(sender, events) };
}

async function brokenReceiver(
  transport: Transport,
  asked: Subscription,
  given: ReceiverEvents,
  signal: AbortSignal,
  wrong: Wrong,
): Promise<Receiver> {
  const events: ReceiverEvents = { ...given, ...wrong.receiverEvents?.(given) };
  const out = new Set<Delivery>();
  // The adapter settles what it delivered, not our copy of it.
  const originals = new WeakMap<Delivery, Delivery>();
  const subscription = wrong.subscription?.(asked) ?? asked;
  if (subscription !== asked)
    await transport.admin.declare(
      [{ ...subscription.topic, groups: [...subscription.topic.groups, subscription.group] }],
      signal,
    );
  const told: ReceiverEvents = {
    ...events,
    deliver(batch) {
      const changed = batch.map((delivery) => wrong.delivery?.(delivery) ?? delivery);
      for (const [index, delivery] of changed.entries()) {
        out.add(delivery);
        originals.set(delivery, batch[index]!);
      }
      events.deliver(changed);
    },
  };
  const sound = await transport.openReceiver(subscription, told, signal);
  const receiver: Receiver = {
    settle(batch) {
      for (const { delivery } of batch) out.delete(delivery);
      sound.settle(
        batch.map((settlement) => ({
          ...settlement,
          delivery: originals.get(settlement.delivery) ?? settlement.delivery,
        })),
      );
    },
    extend: (delivery, ms) => sound.extend(originals.get(delivery) ?? delivery, ms),
    pause: (lane) => sound.pause(lane),
    resume: (lane) => sound.resume(lane),
    stop: () => sound.stop(),
    [Symbol.asyncDispose]: () => sound[Symbol.asyncDispose](),
  };
  return { ...receiver, ...wrong.receiver?.(receiver, events, out) };
}

export function acks(deliveries: Iterable<Delivery>): readonly Settlement[] {
  return [...deliveries].map((delivery) => ({ kind: "ack", delivery }));
}
