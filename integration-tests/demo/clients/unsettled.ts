import type { Broker } from "@tallymq/core/spi";

/** Which order it is about. */
const UNSETTLED = "order-7";

/** A broker whose adapter forgets the ack of one order, whoever gets it: the bug of that name. */
export function unsettled(broker: Broker): Broker {
  return {
    name: broker.name,
    open(host) {
      const transport = broker.open(host);
      const open = transport.openReceiver.bind(transport);
      transport.openReceiver = async (...how) => {
        const receiver = await open(...how);
        const settle = receiver.settle.bind(receiver);
        receiver.settle = (batch) => settle(batch.filter(({ delivery }) => delivery.message.id !== UNSETTLED));
        return receiver;
      };
      return transport;
    },
  };
}
