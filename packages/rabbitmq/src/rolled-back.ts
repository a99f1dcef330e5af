import { type Outgoing, TallyError, type Verdict } from "@tallymq/core/spi";

/**
 * The broker closed the channel for one message, and so rolled back all of its transaction. Its text says for what, not for
 * which: so each message that it fits is refused, and would be if it came again.
 * @returns null where it says nothing of a message (an exchange that is gone: the session begins again, topology first)
 */
export function blame(
  text: string,
  replyCode: number | null,
  exchangeOf: (m: Outgoing) => string,
): ((m: Outgoing) => Verdict | null) | null {
  if (replyCode === 403) {
    // ACCESS_REFUSED - write access to exchange 'audit' in vhost '/' refused for user 'guest'
    const exchange = /exchange '(.*)' in vhost/.exec(text)?.[1];
    if (exchange === undefined) return null;
    return (m) => (exchangeOf(m) === exchange ? refused("unauthorized", text, m.id) : null);
  }
  // PRECONDITION_FAILED - message size 2000000 is larger than configured max size 1000000
  const most = replyCode === 406 ? /larger than (?:configured )?max size (\d+)/.exec(text)?.[1] : undefined;
  if (most === undefined) return null;
  return (m) => (m.body.length > Number(most) ? refused("too-large", text, m.id) : null);
}

function refused(code: "unauthorized" | "too-large", text: string, id: string): Verdict {
  return { kind: "refused", error: new TallyError(code, text, { id }) };
}
