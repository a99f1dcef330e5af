import type { Broker, Receiver, Transport } from "@tallymq/core/spi";

/** Settlements that go no further while `lost` is set: as on a connection that breaks before they leave it. */
export class Acks {
  lost = false;
  /** Acks that were lost. */
  kept = 0;

  of(broker: Broker): Broker {
    return { name: broker.name, open: (host) => this.#transport(broker.open(host)) };
  }

  #transport(transport: Transport): Transport {
    return {
      name: transport.name,
      traits: transport.traits,
      admin: transport.admin,
      halfMessages: transport.halfMessages,
      audit: transport.audit,
      members: transport.members,
      openSender: (events, signal) => transport.openSender(events, signal),
      openReceiver: async (subscription, events, signal) =>
        this.#receiver(await transport.openReceiver(subscription, events, signal)),
      [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
    };
  }

  #receiver(receiver: Receiver): Receiver {
    return {
      settle: (batch) => {
        if (this.lost) this.kept += batch.length;
        else receiver.settle(batch);
      },
      extend: (delivery, ms) => receiver.extend(delivery, ms),
      pause: (lane) => receiver.pause(lane),
      resume: (lane) => receiver.resume(lane),
      stop: () => receiver.stop(),
      [Symbol.asyncDispose]: () => receiver[Symbol.asyncDispose](),
    };
  }
}
