import type { Outgoing, TopicPlan } from "@tallymq/core/spi";

/** The topic of {@link outgoing}, if it is told no other. */
export const ORDERS: TopicPlan = Object.freeze({ name: "orders", ordered: false, groups: Object.freeze(["billing"]) });

const BODY = new TextEncoder().encode("{}");
let seq = 0;

/**
 * A message as core hands it over, each with the next number.
 * @param given Over what it is else: for each group, at once, with the body `{}`, and without all that it need not have.
 */
export function outgoing(id: string, given: Partial<Outgoing> = {}): Outgoing {
  return {
    id,
    producer: "shop",
    run: "0123456789abcdef0123456789abcdef",
    seq: ++seq,
    topic: ORDERS.name,
    key: null,
    ordered: false,
    type: null,
    contentType: "application/json",
    contentEncoding: null,
    time: 1_700_000_000_000,
    attempt: 1,
    correlationId: null,
    causationId: null,
    headers: Object.freeze({}),
    body: BODY,
    native: null,
    group: null,
    delayMs: 0,
    ...given,
  };
}
