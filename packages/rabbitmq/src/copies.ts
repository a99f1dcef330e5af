import { type Outgoing, type SenderEvents, TallyError, type Verdict } from "@tallymq/core/spi";
import type { RabbitChannel } from "./channel.ts";
import type { ConfirmRing } from "./confirms.ts";
import type { RabbitNative } from "./native.ts";
import type { Route, Topology } from "./topology.ts";

// What both kinds of sender know of their copies, whoever answers for them: confirms or commits.

/** What has a tag was encoded, and what was encoded has a route. */
export function routeOf(topology: Topology, m: Outgoing): Route {
  if (m.delayMs === 0) {
    // Where a copy for one group, or a delayed one, goes, raw properties have no say.
    const native = m.group === null ? (m.native as RabbitNative | null) : null;
    return native === null ? topology.route(m.topic, m.group)! : topology.routeOf(m.topic, native);
  }
  return topology.delayed(m.topic, m.group, m.delayMs) as Route;
}

/** The exchange that the copy was written to. */
export function exchangeOf(topology: Topology, m: Outgoing): string {
  return routeOf(topology, m).exchange;
}

/** Why nothing can be written now: a verdict for all that is given, or null. */
export function unusable(channel: RabbitChannel, over: boolean): Verdict | null {
  if (over) return unsent("the session is over");
  const { blocked } = channel.connection;
  return blocked === null ? null : unsent(`the broker accepts no messages now: ${blocked}`);
}

export function unsent(why: string): Verdict {
  return { kind: "unsent", error: new TallyError("unsent", why, { retryable: true }) };
}

export function inDoubt(why: string, cause?: TallyError): Verdict {
  return { kind: "doubt", error: new TallyError("in-doubt", why, { mayArrive: true, retryable: true, cause }) };
}

/** What the encoder would not write. */
export function notWritten(error: TallyError): Verdict {
  return { kind: error.code === "topology" ? "unsent" : "refused", error };
}

/**
 * A return comes before its confirm, or before the answer to its commit. It names no tag, so it is found by id; core
 * never has one id out twice in a session and topic.
 */
export function returned(
  ring: ConfirmRing,
  topology: Topology,
  events: SenderEvents,
  { fields, properties }: { readonly fields: object; readonly properties: { readonly messageId?: unknown } },
): void {
  const { exchange, routingKey, replyCode, replyText } = fields as ReturnFields;
  const found = ring.returned(
    (m) => {
      if (m.id !== properties.messageId) return false;
      const route = routeOf(topology, m);
      return route.exchange === exchange && route.routingKey === routingKey;
    },
    (m) => ({
      kind: "unroutable",
      error: new TallyError(
        "unroutable",
        `topic ${JSON.stringify(m.topic)}: no queue takes what exchange ${JSON.stringify(exchange)} gets with routing key ${JSON.stringify(routingKey)} (${replyCode} ${replyText})`,
        { id: m.id },
      ),
    }),
  );
  if (!found)
    events.surfaced(`the broker returned a message from exchange ${JSON.stringify(exchange)} that is not in flight`);
}

interface ReturnFields {
  readonly replyCode: number;
  readonly replyText: string;
  readonly exchange: string;
  readonly routingKey: string;
}
