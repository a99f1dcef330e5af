import type { Broker, Outgoing, Sender, Verdict } from "@tallymq/core/spi";

const ACCEPTED: Verdict = Object.freeze({
  kind: "accepted",
  proof: Object.freeze({ routed: "yes", persisted: "yes", replicated: "yes" }),
});

/**
 * A transport that accepts in the next microtask: what is left to measure is the policy layer.
 * @param sent Sees each batch.
 */
export function instant(sent: (batch: readonly Outgoing[]) => void = () => {}): Broker {
  const sender: Sender = {
    lane: () => 0,
    kept: () => null,
    send(_lane, batch, verdict) {
      sent(batch);
      queueMicrotask(() => {
        for (let i = 0; i < batch.length; i++) verdict(i, ACCEPTED);
      });
    },
    async [Symbol.asyncDispose]() {},
  };
  return {
    name: "instant",
    open: () => ({
      name: "instant",
      traits: {
        maxBytes: 16 * 1024 * 1024,
        inFlightPerLane: "window",
        lingerMs: 0,
        resendsInSession: false,
        unroutable: "reported",
        order: "queue",
        release: "now",
        deliveryLease: "none",
        position: false,
        countsDeliveries: true,
        longestDelay: 0,
        aheadBytes: 0,
      },
      admin: { declare: async () => {}, declareDelays: async () => {}, backlog: async () => 0 },
      halfMessages: null,
      members: null,
      audit: null,
      openSender: async () => sender,
      openReceiver: () => Promise.reject(new Error("nothing comes back from an instant transport")),
      async [Symbol.asyncDispose]() {},
    }),
  };
}
