import type { Broker, Sender, Transport } from "@tallymq/core/spi";

/** What went over the wire of one tally. */
export interface Wire {
  /** Copies without a verdict now. */
  open: number;
  /** Most at one time. */
  peak: number;
  /** Copies handed to the transport, by id. */
  readonly copies: Map<string, number>;
}

/** The same broker, with its senders watched. */
export function observed(broker: Broker, wire: Wire): Broker {
  return { name: broker.name, open: (host) => watched(broker.open(host), wire) };
}

function watched(transport: Transport, wire: Wire): Transport {
  return {
    name: transport.name,
    traits: transport.traits,
    admin: transport.admin,
    halfMessages: transport.halfMessages,
    audit: transport.audit,
    members: transport.members,
    openSender: async (events, signal) => watchedSender(await transport.openSender(events, signal), wire),
    openReceiver: (subscription, events, signal) => transport.openReceiver(subscription, events, signal),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

function watchedSender(sender: Sender, wire: Wire): Sender {
  return {
    lane: (message, kept) => sender.lane(message, kept),
    kept: (lane) => sender.kept(lane),
    send(lane, batch, report) {
      for (const { id } of batch) wire.copies.set(id, (wire.copies.get(id) ?? 0) + 1);
      wire.open += batch.length;
      wire.peak = Math.max(wire.peak, wire.open);
      sender.send(lane, batch, (index, verdict) => {
        wire.open--;
        report(index, verdict);
      });
    },
    [Symbol.asyncDispose]: () => sender[Symbol.asyncDispose](),
  };
}
