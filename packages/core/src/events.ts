// One thing: the closed list of events, its table, and what counts and hands them out.
import type { AuditFinding } from "./port/audit.ts";
import { type ErrorCode, oneLine, showGiven, TallyError } from "./error.ts";

/** One thing that takes memory, and how much of it at most, in bytes. */
export interface MemoryPart {
  readonly what: string;
  readonly bytes: number;
}

/** Nothing happens uncounted: whatever is out of the ordinary is one of these. `at` is wall-clock milliseconds. */
export type TallyEvent = { readonly at: number } & TallyEventBody;

/**
 * What happened. Numbers that end in `Ms` are milliseconds; `what` names the session's destination, or topic and group;
 * `epoch` counts the sessions that it had; ids are null for foreign messages without one. Texts and reasons are one line; ids,
 * topics and keys are as their senders made them: write them as JSON.
 *
 * | type | what happened |
 * |---|---|
 * | `session-opened` | a session is in use, after `tries` |
 * | `session-lost` | it ended by itself; another is opened |
 * | `session-retired` | a copy in it was overdue: a successor takes over, the `open` copies in it may still be answered |
 * | `memory-bound` | what is held of messages is at most `bytes`, the sum of these `parts`; at start, and with each consumer |
 * | `reconnect` | try number `attempt` failed; the next one comes after `afterMs` |
 * | `blocked`, `unblocked` | the broker has stopped reading publishes, for this `reason`; it reads again |
 * | `resend` | copy number `copy` of a message goes out, because of how the last one ended |
 * | `overdue` | a copy has had no verdict for `afterMs` |
 * | `rejected` | a `publish()` was rejected |
 * | `spilled` | a message was stored in the outbox; `doubtful`: a copy of it was sent before and got no verdict |
 * | `tx-published` | a transaction has committed with this message in it, which will be sent |
 * | `tx-undone` | a transaction was undone, and this message with it |
 * | `breaker-open` | the broker does not take this topic's messages: they are stored, or wait outside of the window |
 * | `breaker-closed` | it takes them again, after `afterMs` |
 * | `half-prepared` | half message `id` of the half `name` is durable, and its work begins |
 * | `half-checked` | `check` was asked for the `checks`-th time, and answered; `error`: why that was no answer |
 * | `half-decided` | its decision is durable, by its work, by `check`, or by a person |
 * | `half-kept` | the broker did not take its half message: it waits in the outbox alone |
 * | `half-asked` | the broker asked about it, and was answered so |
 * | `half-settled` | it is committed, and was seen among the broker's messages |
 * | `half-dropped` | the broker has given up so many half messages, of whatever service, that nobody decided while it asked |
 * | `half-parked` | it has no decision after so many checks, or cannot be sent: a person has to decide |
 * | `joined` | a `publish()` of an id in flight got the promise of the first one |
 * | `late-verdict` | a copy of a message that had ended was answered after all |
 * | `relay-started`, `relay-stopped` | this process holds the lease of the outbox, and sends its rows; it does not any more |
 * | `attempt-failed` | attempt number `attempt` in place failed |
 * | `delayed` | a delivery comes again as a copy, number `attempt`, that the broker keeps for `afterMs`; the delivery is acked |
 * | `released` | a delivery goes back to the broker after `afterMs` |
 * | `late-effect` | a handler ended after its processing deadline; what it did acks nothing |
 * | `unsettled` | so many settlements did not take: these deliveries come again |
 * | `unidentified` | a message without id came; once a subscription |
 * | `unguarded` | a message ran without its consumer's inbox, for want of an identity |
 * | `duplicate` | the effect of a delivery is there already: acked without running |
 * | `busy` | another consumer is at the message, for `leftMs` at most: it is asked for again then |
 * | `conflict` | a message has the identity of another one, and another body: it becomes a dead letter |
 * | `fenced` | a claim ran out while its handler was at work, and another consumer has it: nothing is acked |
 * | `key-parked` | the head of an ordered key failed for good: it is parked, and what comes of its key later goes behind it |
 * | `parked-behind` | a delivery of a parked key was stored there, and acked without running |
 * | `parked-full` | the store takes no more parked messages: nothing new of the topic begins until there is room |
 * | `parked-room` | there is room again, or nobody needs it any more: the topic goes on |
 * | `key-replayed` | all parked `messages` of a key have run, and it is free |
 * | `replay-stopped` | a parked message failed again, after `messages` that ran: its key stays parked from there |
 * | `key-purged` | a person gave up so many parked `messages` of a key |
 * | `parked` | a row of the outbox that cannot be sent is parked, for this `code`: a person has to decide |
 * | `row-replayed`, `row-purged` | a parked row of the outbox is to be sent again; was given up by a person |
 * | `gap` | messages of a lane, `from` to `to`, are gone from the broker |
 * | `surfaced` | something else that a person should know, as `text` |
 * | `dead-lettered` | a message was given up, for this `reason`; its letter is with the broker |
 * | `letter-replayed` | a dead letter is a message of its group again |
 * | `letter-purged` | a dead letter was thrown away |
 * | `subscription-paused` | `failed` of its last `bodies` could not be read: a consumer has left the topic, until `resume()` |
 * | `subscription-resumed` | it subscribes again |
 * | `audit-finding` | the audit found something that stands against the promises: see {@link AuditFinding}; once until it is another |
 * | `inbox-differs` | `consumer`, of the same group, has another inbox: neither knows what the other has done; once for each inbox |
 * | `consumer-closed` | a consumer has left; `abandoned` deliveries were not settled and come again |
 * | `closed` | the tally is closed; `abandoned` publishes were rejected for it |
 */
export type TallyEventBody =
  | {
      readonly type: "session-opened";
      readonly role: Role;
      readonly what: string;
      readonly epoch: number;
      readonly tries: number;
    }
  | {
      readonly type: "session-lost";
      readonly role: Role;
      readonly what: string;
      readonly epoch: number;
      readonly error: TallyError;
    }
  | { readonly type: "memory-bound"; readonly bytes: number; readonly parts: readonly MemoryPart[] }
  | { readonly type: "session-retired"; readonly what: string; readonly epoch: number; readonly open: number }
  | {
      readonly type: "reconnect";
      readonly role: Role;
      readonly what: string;
      readonly attempt: number;
      readonly afterMs: number;
      readonly error: TallyError;
    }
  | { readonly type: "blocked"; readonly what: string; readonly reason: string }
  | { readonly type: "unblocked"; readonly what: string }
  | {
      readonly type: "resend";
      readonly topic: string;
      readonly id: string;
      readonly copy: number;
      readonly because: ErrorCode;
    }
  | { readonly type: "overdue"; readonly topic: string; readonly id: string; readonly afterMs: number }
  | {
      readonly type: "rejected";
      readonly topic: string;
      readonly id: string;
      readonly code: ErrorCode;
      readonly mayArrive: boolean;
    }
  | { readonly type: "spilled"; readonly topic: string; readonly id: string; readonly doubtful: boolean }
  | { readonly type: "tx-published"; readonly topic: string; readonly id: string }
  | { readonly type: "tx-undone"; readonly topic: string; readonly id: string }
  | { readonly type: "half-prepared"; readonly name: string; readonly topic: string; readonly id: string }
  | {
      readonly type: "half-checked";
      readonly name: string;
      readonly topic: string;
      readonly id: string;
      readonly answer: "commit" | "rollback" | "unknown";
      readonly checks: number;
      readonly error: string | null;
    }
  | {
      readonly type: "half-decided";
      readonly name: string;
      readonly topic: string;
      readonly id: string;
      readonly decision: "commit" | "rollback";
      readonly by: "work" | "check" | "person";
    }
  | {
      readonly type: "half-kept";
      readonly name: string;
      readonly topic: string;
      readonly id: string;
      readonly error: TallyError;
    }
  | {
      readonly type: "half-asked";
      readonly name: string;
      readonly topic: string;
      readonly id: string;
      readonly answer: "commit" | "rollback" | "unknown";
    }
  | { readonly type: "half-settled"; readonly name: string; readonly topic: string; readonly id: string }
  | { readonly type: "half-dropped"; readonly what: string; readonly messages: number }
  | {
      readonly type: "half-parked";
      readonly name: string;
      readonly topic: string;
      readonly id: string;
      readonly checks: number;
      readonly reason: string;
    }
  | { readonly type: "parked"; readonly topic: string; readonly id: string; readonly code: ErrorCode }
  | { readonly type: "breaker-open"; readonly topic: string }
  | { readonly type: "breaker-closed"; readonly topic: string; readonly afterMs: number }
  | { readonly type: "relay-started" | "relay-stopped"; readonly what: string }
  | { readonly type: "joined"; readonly topic: string; readonly id: string }
  | { readonly type: "late-verdict"; readonly topic: string; readonly id: string; readonly verdict: string }
  | {
      readonly type: "attempt-failed";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
      readonly attempt: number;
      readonly error: TallyError;
    }
  | {
      readonly type: "delayed";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
      readonly attempt: number;
      readonly afterMs: number;
    }
  | {
      readonly type: "released";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
      readonly afterMs: number;
      readonly error: TallyError;
    }
  | {
      readonly type: "late-effect";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
      readonly outcome: "returned" | "threw";
    }
  | {
      readonly type: "unsettled";
      readonly topic: string;
      readonly group: string;
      readonly deliveries: number;
      readonly error: TallyError;
    }
  | { readonly type: "unidentified"; readonly topic: string; readonly group: string }
  | { readonly type: "unguarded"; readonly topic: string; readonly group: string; readonly id: string | null }
  | { readonly type: "duplicate"; readonly topic: string; readonly group: string; readonly id: string | null }
  | {
      readonly type: "busy";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
      readonly leftMs: number;
    }
  | { readonly type: "conflict"; readonly topic: string; readonly group: string; readonly id: string | null }
  | { readonly type: "fenced"; readonly topic: string; readonly group: string; readonly id: string | null }
  | {
      readonly type: "dead-lettered";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
      readonly reason: string;
    }
  | {
      readonly type: "key-parked";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
      readonly key: string;
      readonly reason: string;
    }
  | {
      readonly type: "parked-behind" | "parked-full";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
      readonly key: string;
    }
  | { readonly type: "parked-room"; readonly topic: string; readonly group: string }
  | {
      readonly type: "key-replayed" | "key-purged";
      readonly topic: string;
      readonly group: string;
      readonly key: string;
      readonly messages: number;
    }
  | {
      readonly type: "replay-stopped";
      readonly topic: string;
      readonly group: string;
      readonly key: string;
      readonly messages: number;
      readonly error: TallyError;
    }
  | { readonly type: "row-replayed" | "row-purged"; readonly store: string; readonly place: number }
  | {
      readonly type: "letter-replayed" | "letter-purged";
      readonly topic: string;
      readonly group: string;
      readonly id: string | null;
    }
  | {
      readonly type: "gap";
      readonly topic: string;
      readonly group: string;
      readonly lane: number;
      readonly from: string;
      readonly to: string;
    }
  | {
      readonly type: "subscription-paused";
      readonly topic: string;
      readonly group: string;
      readonly failed: number;
      readonly bodies: number;
      /** Of the last one. */
      readonly error: TallyError;
    }
  | { readonly type: "subscription-resumed"; readonly topic: string; readonly group: string }
  | { readonly type: "surfaced"; readonly what: string; readonly text: string }
  | {
      readonly type: "inbox-differs";
      readonly topic: string;
      readonly group: string;
      /** Ids of the inboxes. */
      readonly ours: string;
      readonly theirs: string;
      readonly consumer: string;
    }
  | ({ readonly type: "audit-finding" } & AuditFinding)
  | { readonly type: "consumer-closed"; readonly group: string; readonly abandoned: number }
  | { readonly type: "closed"; readonly abandoned: number };

/** Whose session: the publisher's, or a consumer's. */
export type Role = "send" | "receive";
/** The names of all events: see {@link TallyEventBody}. */
export type EventType = TallyEvent["type"];
/** How often each event happened since `openTally`; a type that never happened is absent. */
export type Counters = Readonly<Partial<Record<EventType, number>>>;
/** Gets every event, synchronously, in the order in which they happen. */
export type Listener = (event: TallyEvent) => void;
/** Name of the `node:diagnostics_channel` on which every event of every tally is published. */
export const EVENT_CHANNEL = "tally:event";

/** One tally's events: counted, handed to its listeners, and published on the diagnostics channel. */
export interface Events {
  emit(event: TallyEventBody): void;
  on(listener: Listener): () => void;
  counters(): Counters;
}

/**
 * @param wall Wall clock of `at`.
 * @param publish The diagnostics channel.
 */
export function createEvents(wall: () => number, publish: (event: TallyEvent) => void): Events {
  const listeners = new Set<Listener>();
  const counts: Partial<Record<EventType, number>> = {};
  return {
    emit(body) {
      counts[body.type] = (counts[body.type] ?? 0) + 1;
      const event: TallyEvent = Object.freeze({ at: wall(), ...inOneLine(body) });
      publish(event);
      for (const listener of listeners) {
        try {
          const promised: unknown = listener(event);
          // An asynchronous one is a Listener to the compiler, and its rejection would end the process.
          if (typeof promised === "object" && promised !== null && "then" in promised)
            void Promise.resolve(promised).catch(() => {});
        } catch {
          // A listener is the user's; its failure must not reach the message that the event is about.
        }
      }
    },
    on(listener) {
      if (typeof listener !== "function")
        throw new TallyError("bad-config", `on: the listener must be a function; got ${showGiven(listener)}`);
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    counters: () => ({ ...counts }),
  };
}

/** What is made to be read: a line break in it, which may come from anybody, must not begin a line in a log. Ids are data. */
function inOneLine(body: TallyEventBody): TallyEventBody {
  if (body.type === "surfaced") return { ...body, text: oneLine(body.text) };
  if (body.type === "dead-lettered" || body.type === "blocked") return { ...body, reason: oneLine(body.reason) };
  return body;
}
