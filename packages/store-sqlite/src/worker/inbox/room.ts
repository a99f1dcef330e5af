import type { ClaimAsk, InboxKey, InboxOutcome } from "@tallymq/core/spi";
import type { Database } from "../file/database.ts";
import {
  ASK_WIDTH,
  type ClaimAnswers,
  type ClaimArgs,
  type Now,
  type OpenArgs,
  type Operations,
  operation,
} from "../protocol.ts";
import { Ageing } from "./ageing.ts";
import { type Claimed, Marks } from "./marks.ts";
import { ParkedMessages } from "./parked.ts";

type One = { readonly key: InboxKey; readonly fence: number; readonly now: Now };

export interface InboxRoom {
  readonly operations: Operations;
  readonly marks: Marks;
  /** A transaction begins. */
  begun(): void;
  /** What the newest request said about time. */
  at(now: Now): void;
}

/** An inbox on one connection: what the main thread may ask of it, transactions apart. */
export function inboxRoom(db: Database, args: OpenArgs, surfaced: (what: string) => void): InboxRoom {
  let now = args.now;
  const ageing = new Ageing(db.sql, args.keepFor);
  db.begin("acked");
  try {
    ageing.opened(now);
    db.commit();
  } catch (error) {
    db.rollback();
    throw error;
  }
  const marks = new Marks(db.sql, ageing);
  const parked = new ParkedMessages(db.sql, marks, args.maxParked, db.path, surfaced);
  return {
    marks,
    begun: () => {
      if (ageing.passed(now)) marks.forget();
    },
    at: (newest) => {
      now = newest;
    },
    operations: {
      claim: operation("write", ({ asks, leaseMs, now: at }: ClaimArgs) => {
        const keys = asksOf(asks);
        return { value: answersOf(marks.claim(keys, leaseMs, at, parked.look(keys))) };
      }),
      renew: operation("write", (of: One & { leaseMs: number }) => ({
        value: marks.renew(of.key, of.fence, of.leaseMs, of.now),
      })),
      "inbox.end": operation("write", (of: One & { outcome: InboxOutcome }) => ({
        value: marks.end(of.key, of.fence, of.outcome),
      })),
      revive: operation("write", ({ key }: { key: InboxKey }) => ({ value: marks.revive(key) })),
      ...parked.operations,
    },
  };
}

function asksOf(asks: readonly unknown[]): readonly ClaimAsk[] {
  const keys: ClaimAsk[] = [];
  for (let at = 0; at < asks.length; at += ASK_WIDTH)
    keys.push({
      group: asks[at] as string,
      topic: asks[at + 1] as string,
      producer: asks[at + 2] as string,
      id: asks[at + 3] as string,
      bodyHash: asks[at + 4] as bigint,
      behind: asks[at + 5] as string | null,
    });
  return keys;
}

function answersOf(claims: readonly Claimed[]): ClaimAnswers {
  const answers: unknown[] = [];
  for (const claim of claims) {
    if (claim.state === "fresh") answers.push(claim.state, claim.attempt, claim.fence);
    else if (claim.state === "busy") answers.push(claim.state, claim.leftMs, 0);
    else answers.push(claim.state, claim.state === "dead" ? claim.reason : null, 0);
  }
  return answers;
}
