import type { ClaimAsk, InboxKey, InboxOutcome } from "@tallymq/core/spi";
import type { Database } from "../file/database.ts";
import { type Now, type OpenArgs, type Operations, operation } from "../protocol.ts";
import { Ageing } from "./ageing.ts";
import { Marks } from "./marks.ts";
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
      claim: operation("write", (of: { keys: readonly ClaimAsk[]; leaseMs: number; now: Now }) => ({
        value: marks.claim(of.keys, of.leaseMs, of.now, parked.look(of.keys)),
      })),
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
