import {
  type Incoming,
  LONGEST_TIMER,
  type Outgoing,
  type Proof,
  TallyError,
  type Traits,
  type Verdict,
} from "@tallymq/core/spi";

/** Largest body, in bytes. */
export const MAX_BYTES: number = 16 * 1024 * 1024;

/** What the embedded broker does; the same in this process and in one of its own. */
export const MEMORY_TRAITS: Traits = Object.freeze({
  maxBytes: MAX_BYTES,
  inFlightPerLane: "window",
  lingerMs: 0,
  resendsInSession: false,
  unroutable: "reported",
  order: "queue",
  release: "now",
  deliveryLease: "none",
  position: false,
  countsDeliveries: true,
  longestDelay: LONGEST_TIMER,
  aheadBytes: 0,
});

/** Accepted, with what this broker vouches for: memory only, or an fsynced log on one machine. */
export function acceptedWith(persisted: "yes" | "no"): Verdict {
  const proof: Proof = Object.freeze({ routed: "yes", persisted, replicated: "no" });
  return Object.freeze({ kind: "accepted", proof });
}

export function unroutable(message: Outgoing): Verdict {
  const { topic, group } = message;
  const what = `topic ${JSON.stringify(topic)} has no group${group === null ? "" : ` ${JSON.stringify(group)}`}`;
  return { kind: "unroutable", error: new TallyError("unroutable", what, { id: message.id }) };
}

export function later(message: Outgoing, what: string, afterMs: number): Verdict {
  return { kind: "later", afterMs, error: new TallyError("later", what, { id: message.id, retryable: true }) };
}

export function refused(message: Outgoing, error: TallyError | null): Verdict {
  return { kind: "refused", error: error ?? new TallyError("refused", "refused by the broker", { id: message.id }) };
}

export function tooLarge(message: Outgoing): Verdict {
  const what = `a body of ${message.body.length} bytes; the broker takes ${MAX_BYTES}`;
  return { kind: "refused", error: new TallyError("too-large", what, { id: message.id }) };
}

export function doubt(message: Outgoing): Verdict {
  const what = "the session ended before a verdict";
  return {
    kind: "doubt",
    error: new TallyError("in-doubt", what, { id: message.id, mayArrive: true, retryable: true }),
  };
}

export function unsent(message: Outgoing): Verdict {
  const what = "the session ended before the message was sent";
  return { kind: "unsent", error: new TallyError("unsent", what, { id: message.id, retryable: true }) };
}

/** The message as it will be received. Its body is the sender's own snapshot; each delivery gets a copy. */
export function incoming(m: Outgoing): Incoming {
  return {
    id: m.id,
    producer: m.producer || null,
    run: m.run,
    seq: m.seq,
    topic: m.topic,
    key: m.key,
    type: m.type,
    contentType: m.contentType,
    contentEncoding: m.contentEncoding,
    time: m.time,
    attempt: m.attempt,
    correlationId: m.correlationId,
    causationId: m.causationId,
    headers: Object.freeze(Object.assign(Object.create(null) as Record<string, string>, m.headers)),
    body: m.body,
    native: null,
  };
}

/** What one delivery hands out: a handler that writes into its body must not change what another one gets. */
export function copyOf(message: Incoming): Incoming {
  return { ...message, body: message.body.slice() };
}
