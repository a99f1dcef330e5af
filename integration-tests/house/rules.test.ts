// The rules of the policy layer, each with the runs that break without it. Every run is a test, whose title is here.
import { describe, expect, it } from "vitest";
import { untested } from "./titles.ts";

interface Rule {
  readonly number: number;
  /** In a few words. */
  readonly says: string;
  /** The test's title is `rule <number>: <run>`. */
  readonly runs: readonly string[];
}

const RULES: readonly Rule[] = [
  {
    number: 1,
    says: "who a message is: group, topic, producer and id, as bytes",
    runs: [
      "published twice under one id, by a publisher that was restarted in between: one effect",
      "two groups on one inbox: each has its effect",
      "one id, but %s: two effects",
      "the same identity with another body is a conflict: dead-lettered, not acked as a duplicate",
    ],
  },
  {
    number: 2,
    says: "what deduplicates a message without id",
    runs: [
      "a foreign message without id is deduped by a place that the broker guarantees",
      "a foreign message without id is deduped by the consumer's id function",
      "a foreign message is never deduped by its body: two equal payments are two; it runs without inbox, counted, surfaced once",
    ],
  },
  {
    number: 3,
    says: "what `seq` counts",
    runs: [
      "seq counts the calls of a topic, in the envelope; those refused at the call leave no number",
      "what is withdrawn leaves a hole, a resend keeps its number, and each run begins anew",
    ],
  },
  {
    number: 4,
    says: "one id twice at once",
    runs: [
      "the same id twice at once joins the first call when the body is the same: one message, two receipts",
      "the same id twice at once is a conflict when the body or the key is another",
    ],
  },
  {
    number: 5,
    says: "verdicts of copies are joined",
    runs: [
      "a rejection after a copy in doubt says that the message may arrive (cut, binding dropped, resent, returned)",
      "a definite no on the successor waits for the copy that is still open",
    ],
  },
  {
    number: 6,
    says: "no resend where an answer may still come",
    runs: [
      "an overdue message is not resent on the session that may still answer, but through a successor; the old verdict still counts",
      "one message probes a stuck lane and the rest wait, until the broker answers there",
      "at most two retired sessions are kept, and no promise ends for it",
    ],
  },
  {
    number: 7,
    says: "one message of an ordered key on the wire",
    runs: [
      "an ordered key has at most one message on the wire; a nack lets nothing overtake; other keys go on",
      "an abort releases the caller, never the key: what is in doubt is carried to its end in the background",
      "withdrawn before its first copy left, definitely, and the key goes on without it",
    ],
  },
  {
    number: 8,
    says: "the place in a key is that of the call",
    runs: ["an ordered key keeps the place of the call when validation is asynchronous, also with a full window"],
  },
  {
    number: 9,
    says: "the fence empties, and direct sending comes back",
    runs: ["under an unchanged demand of three times the relay's rate the backlog ends, and sending is direct again"],
  },
  {
    number: 10,
    says: "the fence is a table of counters",
    runs: [
      "an ordered key with rows in the outbox goes on behind them, and no other key waits for it",
      "an ordered key is fenced from the start by what an earlier process left, until that is gone",
      "two keys of one slot share a fence: a detour through the outbox, never another order",
      "the fence takes the same memory for ten keys and for a hundred thousand",
    ],
  },
  {
    number: 11,
    says: "a row says all that its relay needs",
    runs: [
      "a row that is refused is parked; its key waits behind it, stored, and other keys do not",
      "one relay among all who share the store; another takes over when its session is unusable for 5 s, and nothing is lost",
      "a row is relayed as it was stored, by a process that has never seen its topic",
      "a relay whose session is unhealthy gives up its lease after 5 s, and not before",
    ],
  },
  {
    number: 12,
    says: "what an inbox may have forgotten is not sent again",
    runs: [
      "a row that may have been sent before is parked, not sent, when it is older than its topic's dedupeFor; one that was never sent goes at any age",
      "after a restart of the machine a clock that jumped by years ages the inbox by one bucket at most",
    ],
  },
  {
    number: 13,
    says: "only done and dead are acked without running",
    runs: [
      "killed in its handler: the redelivery meets the unexpired claim, is not acked, and runs when the lease is over",
      "done: acked without running, counted",
    ],
  },
  {
    number: 14,
    says: "dead is written before its letter is published",
    runs: [
      "dead letter confirmed, connection cut before the ack, redelivered: never an effect, the same letter again, then the ack",
      "`dead` is durable when the letter leaves, the letter confirmed when the ack leaves",
    ],
  },
  {
    number: 15,
    says: "merged acks cover a settled prefix only",
    runs: [
      "over random completion orders, failures and cuts: acks cover only what is done, keys keep their order, lanes their bound",
      "merged acks never cover an unfinished tag, name only tags that the broker holds, and leave nothing behind",
      "any order of completion: no unfinished tag is covered, and everything finished is acked once it can be",
    ],
  },
  {
    number: 16,
    says: "a failed head parks its key, on every instance",
    runs: [
      "head parked on A, A killed: the key's next message on B does not run",
      "prefetch 10 and %i messages of a parked key do not stop other keys",
      "a replay runs the messages in order, each with its effect and mark, removes each, and then the key is free",
    ],
  },
  {
    number: 17,
    says: "delays: never by a copy in order, never two times in one queue",
    runs: [
      "each queue of the ladder has one TTL and dead-letters at least once to the step below, the lowest one to where it is due",
      "1 s published after 1 h arrives first, on time, with its own headers and no account of its hops",
      "1 s published after 1 h arrives first, not before its time, with its headers and no account of its hops",
      "by default an ordered key is never delayed by a copy either",
    ],
  },
  {
    number: 18,
    says: "brokers' delivery limits throw no innocent away",
    runs: [
      "killed 25 times with 500 in hand: what it had not begun is not counted, and none is lost",
      "a consumer that dies 25 times with 500 prefetched loses nothing: the limit is far above",
      "beyond the limit a message is dead-lettered at least once, not dropped",
    ],
  },
  {
    number: 19,
    says: "a store says whom it protects",
    runs: [
      "members of a group with different inboxes are a finding for both, said once, and both go on",
      'members of a group with different inboxes are refused at start under durability: "enforce"; who was there goes on, and so does one with the same inbox',
    ],
  },
  {
    number: 20,
    says: "effect, mark and messages in one transaction",
    runs: [
      "effect and mark commit together in the user's database; a handler that throws leaves neither",
      "handlers share commits: a hundred in far fewer than a hundred",
      "a handler that does nothing with its tx: surfaced, then rolled back, and the others go on",
      "with { tx } a handler that throws takes its messages back, and its key is free at once",
      "with { tx } a publish does not overtake one that is under way: `later`, and the next try goes through",
      "kill -9 between put and commit: no message, no effect; later exactly one of each",
      "kill -9 between commit and relay: the effect is there, and the message goes out after the restart",
    ],
  },
  {
    number: 21,
    says: "a wrong schema empties no queue",
    runs: [
      "a schema that fails the first 20 bodies dead-letters fewer than 20 of a full queue, leaves the topic with the rest in the broker's hands, and says so",
      "a sample trips at half of the last 100, wherever they lie, and forgets what is older",
    ],
  },
  {
    number: 22,
    says: "receiving is bounded in bytes",
    runs: [
      "the sum is refused above memory.max with all its parts, at openTally, and nothing is left open",
      "the sum is said at start, and with each consumer: window, stores, credit times largest body",
    ],
  },
  {
    number: 23,
    says: "publishing and consuming on connections of their own",
    runs: [
      "a %s alarm is told with the first publish after it and stops sending; acks go on, on their own connection; its end is told",
    ],
  },
  {
    number: 24,
    says: "half messages",
    runs: [
      "stores first, then works, then sends what its work committed",
      "killed at %s of %s: the message is sent if the work was done, and not otherwise",
      "killed -9 at %s of a topic that is %s: sent once if its work was done, and not otherwise",
      "waits for the lease of the one that died, and one process alone asks",
      "again after its end: answered from the record, without work, whatever it says now",
      "that is unknown, throws, hangs or talks nonsense is asked again, with back-off; then it is parked, surfaced, for a person",
      "a commit after somebody recorded a rollback: the caller must know that it is not sent",
      "the broker has the half message before the work begins; committed, it is handed out once, and no row was needed",
      "killed at %s, work says %s: sent once if the work was done, else never",
      "it gives up while no producer lives: the committed one is sent as a row, under its id, once",
    ],
  },
];

describe("every run of the rules is a test", () => {
  it("that is named after it, in a test file of this repository", () => {
    const titles = RULES.flatMap(({ number, runs }) => runs.map((run) => `rule ${number}: ${run}`));
    expect(untested(titles)).toEqual([]);
  });

  it("and each of the 24 rules has one", () => {
    expect(RULES.map(({ number }) => number)).toEqual(Array.from({ length: 24 }, (_, i) => i + 1));
    expect(RULES.filter(({ runs }) => runs.length === 0)).toEqual([]);
  });

  it("and so is the order of close()", () => {
    expect(
      untested([
        "closing: 1 consumers stop and their handlers finish, and may publish; 2 then publish() rejects; 3–6 lease, sessions, stores",
      ]),
    ).toEqual([]);
  });
});
