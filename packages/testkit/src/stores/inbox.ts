import { randomUUID } from "node:crypto";
import {
  type Claim,
  type ClaimAsk,
  type Clock,
  type FreshClaim,
  type InboxKey,
  type InboxOutcome,
  type InboxSpec,
  type InboxStore,
  type InboxTransactions,
  type NewRow,
  type OutboxStore,
  type ParkedMessage,
  type ParkedPlace,
  type ParkResult,
  type PutResult,
  type StoreHost,
  TallyError,
} from "@tallymq/core/spi";
import { type MemoryOutbox, memoryTable } from "./outbox.ts";
import { inboxOptions } from "./options.ts";

/** The transaction of a {@link memoryInbox}: rows by name, seen by others after the commit. */
export interface MemoryTx {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
}

/** What the store remembers of an identity. */
export interface MemoryMark {
  readonly key: InboxKey;
  state: "open" | "done" | "dead";
  /** Starts so far. */
  attempts: number;
  fence: number;
  /** Monotonic milliseconds at which its lease ends. */
  until: number;
  reason: string;
  /** When it was done or dead, in milliseconds for which the store has been open. */
  endedAt: number;
}

/** An inbox in this process's memory: for tests of consumers. Nothing survives it. */
export interface MemoryInbox extends InboxSpec<MemoryTx> {
  readonly marks: readonly MemoryMark[];
  /** What committed transactions wrote. */
  readonly rows: ReadonlyMap<string, unknown>;
  /** Rows published in transactions. */
  readonly outbox: MemoryOutbox;
  readonly parked: readonly ParkedPlace[];
  /** How many keys each call of `claim` asked for. */
  readonly claims: readonly number[];
  /** While set, every call fails with it: a full disk, a lost database. */
  broken: TallyError | null;
  /** Lets all leases run out, as a long pause of their holders does. */
  expireLeases(): void;
}

/** Options of {@link memoryInbox}. */
export interface MemoryInboxOptions {
  /** False: effects cannot share its transactions. @default true */
  readonly transactions?: boolean;
  /** Messages of parked keys, at most. @default no limit */
  readonly maxParked?: number;
  /** How long a mark is kept, in milliseconds. @default for ever */
  readonly keepFor?: number;
  /** Rows published in transactions, at most; one beyond it is `full`. @default no limit */
  readonly maxRows?: number;
}

/**
 * Several tallies that are given the same value share one store, as processes share a file.
 * @throws TallyError `bad-config`
 */
export function memoryInbox(input?: MemoryInboxOptions): MemoryInbox {
  const { transactions, maxParked, maxRows, keepFor } = inboxOptions(input);
  const id = `memory-${randomUUID()}`;
  const marks = new Map<string, MemoryMark>();
  const rows = new Map<string, unknown>();
  const parked: ParkedPlace[] = [];
  const claims: number[] = [];
  const table = memoryTable({ maxRows });
  const { outbox } = table;
  let fences = 0;
  // Memory ages while somebody has it open: a clock that jumps in between does not shorten it.
  let [members, aged, openedAt] = [0, 0, 0];
  const age = (now: number): number => aged + (members > 0 ? now - openedAt : 0);
  let place = 0;
  let turns: Promise<unknown> = Promise.resolve();

  const working = async (): Promise<void> => {
    // A turn of the event loop, as a worker's answer takes: what is not durable yet must not look so.
    await new Promise((resolve) => setImmediate(resolve));
    if (inbox.broken !== null) throw inbox.broken;
  };
  const identity = ({ group, topic, producer, id }: InboxKey): string => JSON.stringify([group, topic, producer, id]);
  /** The mark, if this claim may still write it. */
  const held = (claim: FreshClaim): MemoryMark | null => {
    const mark = marks.get(identity(claim.key));
    return mark?.state === "open" && mark.fence === claim.fence ? mark : null;
  };

  const isParked = (group: string, topic: string, key: string): boolean =>
    parked.some((p) => p.group === group && p.topic === topic && p.key === key);

  function claim({ behind, ...key }: ClaimAsk, leaseMs: number, now: number): Claim {
    const at = identity(key);
    const old = marks.get(at);
    if (old !== undefined && old.state !== "open" && age(now) - old.endedAt >= keepFor) marks.delete(at);
    const mark = marks.get(at) ?? { key, state: "open", attempts: 0, fence: 0, until: now, reason: "", endedAt: 0 };
    if (mark.key.bodyHash !== key.bodyHash) return { state: "conflict", key };
    if (mark.state === "done") return { state: "done", key };
    if (mark.state === "dead") return { state: "dead", key, reason: mark.reason };
    if (behind !== null && isParked(key.group, key.topic, behind)) return { state: "parked", key };
    if (mark.until > now) return { state: "busy", key, leftMs: mark.until - now };
    mark.attempts++;
    mark.fence = ++fences;
    mark.until = now + leaseMs;
    marks.set(at, mark);
    return { state: "fresh", key, attempt: mark.attempts, fence: mark.fence };
  }

  function end(of: FreshClaim, outcome: InboxOutcome, now: number): boolean {
    const mark = held(of);
    if (mark === null) return false;
    mark.endedAt = age(now);
    if (outcome.is !== "failed") mark.state = outcome.is;
    if (outcome.is === "dead") mark.reason = outcome.reason;
    mark.until = Number.NEGATIVE_INFINITY;
    return true;
  }

  async function run<T>(of: FreshClaim, effect: (tx: MemoryTx) => Promise<T>, clock: Clock): Promise<T> {
    await working();
    if (held(of) === null) throw new TallyError("fenced", "the claim is another one's");
    const written = new Map<string, unknown>();
    const published: NewRow[] = [];
    const tx: MemoryTx = {
      get: (name) => (written.has(name) ? written.get(name) : rows.get(name)),
      set(name, value) {
        if (!open.has(tx)) throw over();
        written.set(name, value);
      },
    };
    open.set(tx, published);
    try {
      const result = await effect(tx);
      await working();
      if (!end(of, { is: "done" }, clock.now())) throw new TallyError("fenced", "the claim is another one's");
      for (const [name, value] of written) rows.set(name, value);
      for (const row of published) table.add(row, clock.wall());
      return result;
    } finally {
      open.delete(tx);
    }
  }

  const open = new Map<MemoryTx, NewRow[]>();
  let opened: OutboxStore | null = null;
  const rowsOf = (): OutboxStore => {
    if (opened === null) throw new TallyError("store", "the inbox is not open");
    return opened;
  };
  const over = (): TallyError => new TallyError("store", "the transaction is over");
  const within = (clock: Clock): InboxTransactions<MemoryTx> => ({
    // One after another, as handlers of one file take turns.
    run(of, effect) {
      const turn = turns.then(() => run(of, effect, clock));
      turns = turn.catch(() => {});
      return turn;
    },
    async put(tx, batch): Promise<readonly PutResult[]> {
      await working();
      const published = open.get(tx);
      if (published === undefined) throw over();
      return batch.map((row) => {
        const result = table.judge(row, published);
        if (result === "stored") published.push(row);
        return result;
      });
    },
    outbox: rowsOf(),
  });

  function park(message: ParkedMessage, head: FreshClaim | null, wall: number): ParkResult {
    if (head !== null && held(head) === null) return "fenced";
    const { group, topic, key, message: whole } = message;
    const there = parked.find(
      (p) =>
        p.group === group && p.topic === topic && p.message.id === whole.id && p.message.producer === whole.producer,
    );
    if (there !== undefined && Buffer.compare(there.message.body, whole.body) !== 0) return "conflict";
    if (there === undefined) {
      if (head === null && !isParked(group, topic, key)) return "free";
      if (parked.length >= maxParked) return "full";
      parked.push({ ...message, place: ++place, parkedAt: wall });
    }
    if (head !== null) end(head, { is: "failed" }, 0);
    return "parked";
  }

  const inbox: MemoryInbox = {
    get marks() {
      return [...marks.values()];
    },
    rows,
    outbox,
    parked,
    claims,
    broken: null,
    expireLeases() {
      for (const mark of marks.values()) mark.until = Number.NEGATIVE_INFINITY;
    },
    async openInbox(host: StoreHost): Promise<InboxStore<MemoryTx>> {
      await working();
      opened ??= await outbox.openOutbox(host);
      if (members++ === 0) openedAt = host.clock.now();
      return {
        id,
        scope: "process",
        bufferBytes: 0,
        keepsMs: keepFor,
        async claim(asks, leaseMs) {
          claims.push(asks.length);
          await working();
          return asks.map((ask) => claim(ask, leaseMs, host.clock.now()));
        },
        async renew(of, leaseMs) {
          await working();
          const mark = held(of);
          if (mark !== null) mark.until = host.clock.now() + leaseMs;
          return mark !== null;
        },
        transactions: transactions ? within(host.clock) : null,
        async end(of, outcome) {
          await working();
          return end(of, outcome, host.clock.now());
        },
        async revive(key) {
          await working();
          const mark = marks.get(identity(key));
          if (mark?.state !== "dead" || mark.key.bodyHash !== key.bodyHash) return false;
          Object.assign(mark, { state: "open", attempts: 0, fence: ++fences, reason: "" });
          return true;
        },
        async parkedKeys(group, topic, keys) {
          await working();
          return new Set(keys.filter((key) => isParked(group, topic, key)));
        },
        async park(message, head) {
          await working();
          return park(message, head, host.clock.wall());
        },
        async parked(group, topic, most) {
          await working();
          const heads = new Map<string, ParkedPlace[]>();
          const wanted = parked.filter((p) => p.group === (group ?? p.group) && p.topic === (topic ?? p.topic));
          for (const p of wanted) {
            const of = JSON.stringify([p.group, p.topic, p.key]);
            heads.set(of, [...(heads.get(of) ?? []), p]);
          }
          return [...heads.values()].slice(0, most).map((of) => {
            const head = of[0]!;
            return {
              group: head.group,
              topic: head.topic,
              key: head.key,
              reason: head.reason,
              parkedAt: head.parkedAt,
              messages: of.length,
            };
          });
        },
        async parkedMessages(group, topic, key, most) {
          await working();
          return parked.filter((p) => p.group === group && p.topic === topic && p.key === key).slice(0, most);
        },
        async unpark(at) {
          await working();
          const found = parked.findIndex((p) => p.place === at);
          if (found >= 0) parked.splice(found, 1);
          return found >= 0;
        },
        async [Symbol.asyncDispose]() {
          aged = age(host.clock.now());
          openedAt = host.clock.now();
          members--;
        },
      };
    },
  };
  return inbox;
}
