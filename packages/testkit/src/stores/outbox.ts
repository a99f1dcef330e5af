import {
  FENCE_SLOTS,
  type NewRow,
  type OutboxLease,
  type OutboxSpec,
  type OutboxStore,
  type ParkedRow,
  type PutResult,
  type Row,
  TallyError,
} from "@tallymq/core/spi";
import { isOpen, type MemoryHalf, type MemoryHalves, memoryHalves } from "./halves.ts";
import { outboxOptions } from "./options.ts";

/** An outbox in this process's memory: for tests of what is published while the broker is away. Nothing survives it. */
export interface MemoryOutbox extends OutboxSpec {
  /** Rows that wait, in their order. */
  readonly rows: readonly Row[];
  readonly parked: readonly ParkedRow[];
  /** Half messages, decided ones included. */
  readonly halves: readonly MemoryHalf[];
  /** While set, every call fails with it: a full disk, a lost mount. */
  broken: TallyError | null;
  /** Takes the lease from its holder, as another process does after a pause. */
  stealLease(): void;
}

/** Options of {@link memoryOutbox}. */
export interface MemoryOutboxOptions {
  /** Rows and half messages, parked ones included, at most; a put beyond it is `full`. @default no limit */
  readonly maxRows?: number;
}

/**
 * Several tallies that are given the same value share one store, as processes share a file.
 * @throws TallyError `bad-config`
 */
export function memoryOutbox(options?: MemoryOutboxOptions): MemoryOutbox {
  return memoryTable(outboxOptions(options)).outbox;
}

/** An outbox, and the way into it for transactions. */
export interface MemoryTable {
  readonly outbox: MemoryOutbox;
  /** What a put of this row behind those of `open`, which are not in the table yet, would be answered. */
  judge(row: NewRow, open: readonly NewRow[]): PutResult;
  /** Stores what was judged so, at once. */
  add(row: NewRow, wall: number): void;
}

export function memoryTable({ maxRows = Number.POSITIVE_INFINITY }: MemoryOutboxOptions = {}): MemoryTable {
  const rows: Row[] = [];
  const parked: ParkedRow[] = [];
  const halves: MemoryHalves = [];
  let place = 0;
  /** Who relays to a destination. */
  const holders = new Map<string, { readonly lost: (error: TallyError) => void }>();
  const waiting = new Set<() => void>();
  /** By destination, how far rows have been given to a lease that did not end in order since. */
  const given = new Map<string, number>();

  const identity = (row: NewRow): string =>
    JSON.stringify([row.destination, row.message.producer, row.message.topic, row.message.id]);
  const same = (a: NewRow, b: NewRow): boolean =>
    a.message.key === b.message.key && Buffer.compare(a.message.body, b.message.body) === 0;
  const working = async (): Promise<void> => {
    // A turn of the event loop, as a worker's answer takes: what is not durable yet must not look so.
    await new Promise((resolve) => setImmediate(resolve));
    if (outbox.broken !== null) throw outbox.broken;
  };
  const free = (who: { readonly lost: (error: TallyError) => void }): void => {
    for (const [destination, holder] of holders) if (holder === who) holders.delete(destination);
    const woken = [...waiting];
    waiting.clear();
    for (const wake of woken) wake();
  };

  const isFull = (more: number): boolean =>
    rows.length + parked.length + halves.filter(isOpen).length + more >= maxRows;

  function judge(row: NewRow, open: readonly NewRow[]): PutResult {
    const there = [...rows, ...parked.map((p) => p.row), ...open].find((r) => identity(r) === identity(row));
    if (there !== undefined) return same(there, row) ? "same" : "conflict";
    return isFull(open.length) ? "full" : "stored";
  }

  function add(row: NewRow, wall: number): void {
    rows.push({ ...row, place: ++place, storedAt: wall });
  }

  function put(row: NewRow, wall: number): PutResult {
    const result = judge(row, []);
    if (result === "stored") add(row, wall);
    return result;
  }

  async function lease(
    destinations: readonly string[],
    lost: (error: TallyError) => void,
    signal: AbortSignal,
    wall: () => number,
  ): Promise<OutboxLease> {
    await working();
    while (destinations.some((destination) => holders.has(destination))) {
      await new Promise<void>((resolve, reject) => {
        waiting.add(resolve);
        signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      });
    }
    signal.throwIfAborted();
    const me = { lost };
    for (const destination of destinations) holders.set(destination, me);
    const taken = new Set<number>();
    /** Given back, and may have been sent. */
    const sent = new Set<number>();
    const before = new Map(given);
    let limits: ReadonlyMap<string, number> = new Map();
    const mine = (): void => {
      if (!destinations.every((destination) => holders.get(destination) === me))
        throw new TallyError("fenced", "the lease is another one's");
    };
    return {
      async take(most) {
        await working();
        mine();
        const held = new Set(parked.map((p) => p.row.slot));
        const found = rows
          .filter(
            (r) =>
              destinations.includes(r.destination) && !taken.has(r.place) && (r.slot === null || !held.has(r.slot)),
          )
          .filter(
            within(
              limits,
              rows.filter((r) => taken.has(r.place)),
            ),
          )
          .slice(0, most);
        for (const row of found) {
          taken.add(row.place);
          given.set(row.destination, Math.max(given.get(row.destination) ?? 0, row.place));
        }
        return found.map((row) =>
          sent.has(row.place) || row.place <= (before.get(row.destination) ?? 0) ? { ...row, doubtful: true } : row,
        );
      },
      limit(topics) {
        limits = topics;
      },
      async end(ended) {
        await working();
        mine();
        for (const { place: at } of ended) remove(rows, (r) => r.place === at);
      },
      async giveBack(back) {
        for (const { place: at, doubtful } of back) {
          taken.delete(at);
          if (doubtful) sent.add(at);
        }
      },
      async park(at, error) {
        await working();
        mine();
        taken.delete(at);
        const row = remove(rows, (r) => r.place === at);
        taken.delete(at);
        if (row !== undefined) parked.push({ row, code: error.code, reason: error.message, parkedAt: wall() });
      },
      async [Symbol.asyncDispose]() {
        for (const destination of destinations) {
          if (holders.get(destination) !== me) continue;
          const doubtful = rows.filter(
            (row) =>
              row.destination === destination &&
              (taken.has(row.place) || sent.has(row.place) || row.place <= (before.get(destination) ?? 0)),
          );
          given.set(destination, doubtful.at(-1)?.place ?? 0);
        }
        free(me);
      },
    };
  }

  const outbox: MemoryOutbox = {
    rows,
    parked,
    halves,
    broken: null,
    stealLease() {
      for (const robbed of new Set(holders.values())) {
        free(robbed);
        robbed.lost(new TallyError("fenced", "another process took the lease"));
      }
    },
    async openOutbox(host): Promise<OutboxStore> {
      await working();
      return {
        scope: "process",
        bufferBytes: 0,
        halves: memoryHalves({
          clock: host.clock,
          halves,
          working,
          isFull: () => isFull(0),
          judge: (row) => judge(row, []),
          add: (row) => add(row, host.clock.wall()),
        }),
        async put(batch) {
          await working();
          return batch.map((row) => put(row, host.clock.wall()));
        },
        async busySlots() {
          await working();
          const counts = new Uint32Array(FENCE_SLOTS);
          for (const { slot } of [...rows, ...parked.map((p) => p.row)])
            if (slot !== null) counts[slot] = (counts[slot] ?? 0) + 1;
          return counts;
        },
        async stats() {
          await working();
          return { rows: rows.length, parked: parked.length, oldestAt: rows[0]?.storedAt ?? null };
        },
        lease: (destinations, lost, signal) => lease(destinations, lost, signal, () => host.clock.wall()),
        parked: async (most) => parked.slice(0, most),
        async replay(at) {
          const found = remove(parked, (p) => p.row.place === at);
          if (found === undefined) return false;
          const before = rows.findIndex((r) => r.place > at);
          rows.splice(before < 0 ? rows.length : before, 0, { ...found.row, storedAt: host.clock.wall() });
          return true;
        },
        purge: async (at) => remove(parked, (p) => p.row.place === at) !== undefined,
        async [Symbol.asyncDispose]() {},
      };
    },
  };
  return { outbox, judge, add };
}

/** Lets rows of a limited topic through while it has fewer out than it may. */
function within(limits: ReadonlyMap<string, number>, out: readonly Row[]): (row: Row) => boolean {
  const counts = new Map<string, number>();
  for (const { message } of out) counts.set(message.topic, (counts.get(message.topic) ?? 0) + 1);
  return ({ message }) => {
    const count = counts.get(message.topic) ?? 0;
    if (count >= (limits.get(message.topic) ?? Number.POSITIVE_INFINITY)) return false;
    counts.set(message.topic, count + 1);
    return true;
  };
}

function remove<T>(list: T[], is: (item: T) => boolean): T | undefined {
  const at = list.findIndex(is);
  return at < 0 ? undefined : list.splice(at, 1)[0];
}
