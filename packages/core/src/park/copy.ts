import type { Incoming, Outgoing } from "../message.ts";
import type { Delivery } from "../port/receiving.ts";
import type { InboxKey, ParkedMessage, ParkedPlace } from "../stores.ts";
import { BY_PLACE } from "../inbox/identity.ts";

/** Stands for a time that a foreign sender did not give. */
const NO_TIME = -1;

/**
 * A delivery, whole, as it is parked: under the identity of its effect, so that a redelivery is known and a replay makes
 * the same claim. What a foreign sender did not give is kept as an empty value, which no sender of ours gives.
 */
export function parkedCopy(of: InboxKey, key: string, message: Incoming, reason: string): ParkedMessage {
  const copy: Outgoing = {
    id: of.id,
    producer: of.producer,
    run: message.run ?? "",
    seq: message.seq ?? 0,
    topic: of.topic,
    key,
    ordered: true,
    type: message.type,
    contentType: message.contentType ?? "",
    contentEncoding: message.contentEncoding,
    time: message.time ?? NO_TIME,
    attempt: message.attempt,
    correlationId: message.correlationId,
    causationId: message.causationId,
    headers: message.headers,
    body: message.body,
    native: null,
    group: null,
    delayMs: 0,
  };
  return { group: of.group, topic: of.topic, key, message: copy, reason };
}

/** A parked message as the delivery that it was, but for what only its broker knew of it. */
export function parkedDelivery({ message, key }: ParkedPlace): Delivery {
  const byPlace = message.producer === BY_PLACE;
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(message.headers)) headers[name] = value;
  return {
    token: null,
    lane: 0,
    epoch: 0,
    place: byPlace ? message.id : null,
    count: null,
    message: {
      id: byPlace ? null : message.id,
      producer: byPlace || message.producer === "" ? null : message.producer,
      run: message.run === "" ? null : message.run,
      seq: message.seq === 0 ? null : message.seq,
      topic: message.topic,
      key,
      type: message.type,
      contentType: message.contentType === "" ? null : message.contentType,
      contentEncoding: message.contentEncoding,
      time: message.time === NO_TIME ? null : message.time,
      attempt: message.attempt,
      correlationId: message.correlationId,
      causationId: message.causationId,
      headers,
      // Its own copy: a handler may change what it gets, and the store may be in this process.
      body: message.body.slice(),
      native: null,
    },
  };
}
