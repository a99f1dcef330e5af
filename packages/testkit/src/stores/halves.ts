import type { Clock, HalfOwner, HalfStore, NewHalf, NewRow, Prepared, PutResult, StoredHalf } from "@tallymq/core/spi";

/** A half message of a {@link memoryOutbox}, decided ones included. */
export interface MemoryHalf extends Omit<StoredHalf, "state"> {
  readonly state: StoredHalf["state"] | "released" | "rolledBack";
}

type Mutable = { -readonly [K in keyof MemoryHalf]: MemoryHalf[K] } & {
  /** Monotonic milliseconds until which somebody is at it. */
  until: number;
  /** Rises in the order of the commits; 0 until then. */
  committed: number;
  forgetAt: number;
};

export interface MemoryHalvesOptions {
  readonly clock: Clock;
  readonly halves: Mutable[];
  /** Each call waits for it, and fails as it does. */
  working(): Promise<void>;
  isFull(): boolean;
  judge(row: NewRow): PutResult;
  add(row: NewRow): void;
}

export type MemoryHalves = Mutable[];

/** The last place that was given, of tables that several processes share: none is given twice. */
const LAST: WeakMap<MemoryHalves, number> = new WeakMap();

/** Undecided, or committed and not yet a row. */
export function isOpen({ state }: Mutable): boolean {
  return state === "undecided" || state === "committed";
}

/** The half messages of an outbox in memory. */
export function memoryHalves({ clock, halves, working, isFull, judge, add }: MemoryHalvesOptions): HalfStore {
  let commits = 0;
  const at = (place: number): Mutable | undefined => halves.find((half) => half.place === place);
  const isOf = (half: Mutable, owner: HalfOwner): boolean =>
    half.name === owner.name &&
    half.row.destination === owner.destination &&
    half.row.message.producer === owner.producer;
  const view = (half: Mutable): StoredHalf => {
    const { until: _until, committed: _committed, forgetAt: _forgetAt, ...rest } = half;
    return rest as StoredHalf;
  };
  const take = (half: Mutable, leaseMs: number): StoredHalf => {
    half.fence++;
    half.until = clock.now() + leaseMs;
    if (half.state === "undecided") half.checks++;
    return view(half);
  };
  const forget = (half: Mutable): void => {
    half.parkedAt = null;
    half.forgetAt = clock.wall() + (half.row.dedupeForMs ?? 7 * 86_400_000);
  };
  const release = (half: Mutable): PutResult => {
    half.state = "released"; // its own room is free for its row
    const result = judge(half.row);
    if (result === "full" || result === "conflict") half.state = "committed";
    if (result === "full") return result;
    if (result === "conflict") {
      half.parkedAt = clock.wall();
      half.reason = "the outbox has a row of the same id with another body";
      return result;
    }
    if (result === "stored") add(half.row);
    forget(half);
    return result;
  };

  function prepare({ name, row }: NewHalf, leaseMs: number): Prepared {
    for (let i = halves.length - 1; i >= 0; i--) {
      const old = halves[i] as Mutable;
      if (!isOpen(old) && old.forgetAt < clock.wall()) halves.splice(i, 1);
    }
    const { destination, message } = row;
    const found = halves.find(
      ({ row: other }) =>
        other.destination === destination &&
        other.message.producer === message.producer &&
        other.message.topic === message.topic &&
        other.message.id === message.id,
    );
    if (found === undefined) {
      if (isFull()) return { is: "full" };
      const place = (LAST.get(halves) ?? 0) + 1;
      LAST.set(halves, place);
      const preparedAt = clock.wall();
      const until = clock.now() + leaseMs;
      const none = { parkedAt: null, reason: null };
      halves.push({
        name,
        row,
        place,
        fence: 1,
        state: "undecided",
        checks: 0,
        preparedAt,
        ...none,
        until,
        committed: 0,
        forgetAt: 0,
      });
      return { is: "prepared", place, fence: 1 };
    }
    const same =
      found.name === name &&
      found.row.message.key === message.key &&
      Buffer.compare(found.row.message.body, message.body) === 0;
    if (!same) return { is: "conflict" };
    if (found.state === "rolledBack") return { is: "rolledBack" };
    if (found.state !== "undecided") return { is: "committed" };
    if (found.until > clock.now()) return { is: "busy", leftMs: found.until - clock.now() };
    return { is: "undecided", half: take(found, leaseMs) };
  }

  return {
    async prepare(half, leaseMs) {
      await working();
      return prepare(half, leaseMs);
    },
    async renew(place, fence, ms) {
      await working();
      const half = at(place);
      if (half === undefined || half.fence !== fence || !isOpen(half)) return false;
      half.until = clock.now() + ms;
      return true;
    },
    async decide(place, decision, releases) {
      await working();
      const half = at(place);
      if (half === undefined) return null;
      if (half.state === "undecided") {
        half.state = decision === "commit" ? "committed" : "rolledBack";
        half.parkedAt = null;
        if (decision === "rollback") forget(half);
        else half.committed = ++commits;
      }
      const put = half.state === "committed" && releases ? release(half) : null;
      return {
        decision: half.state === "rolledBack" ? "rollback" : "commit",
        released: half.state === "released" || put === "stored" || put === "same",
      };
    },
    async settle(place) {
      await working();
      const half = at(place);
      if (half?.state !== "committed") return false;
      half.state = "released";
      forget(half);
      return true;
    },
    async withdraw(place, fence) {
      await working();
      const index = halves.findIndex((half) => half.place === place);
      const half = halves[index];
      if (half === undefined || half.fence !== fence || half.state !== "undecided") return false;
      halves.splice(index, 1);
      return true;
    },
    async release(place) {
      await working();
      const half = at(place);
      return half?.state === "committed" ? release(half) : "same";
    },
    async due(owner, leaseMs, most) {
      await working();
      const open = halves.filter((half) => isOpen(half) && isOf(half, owner) && half.parkedAt === null);
      const isFree = (half: Mutable): boolean => half.until <= clock.now();
      const committed = open.filter((half) => half.state === "committed").sort((a, b) => a.committed - b.committed);
      // None before an earlier one of its key that somebody is at.
      const held = committed.filter((half) => !isFree(half) && half.row.slot !== null);
      const inTurn = committed.filter(
        (half) =>
          isFree(half) && !held.some((other) => other.committed < half.committed && other.row.slot === half.row.slot),
      );
      return [...inTurn, ...open.filter((half) => half.state === "undecided" && isFree(half))]
        .slice(0, most)
        .map((half) => take(half, leaseMs));
    },
    async park(place, fence, reason) {
      await working();
      const half = at(place);
      if (half === undefined || half.fence !== fence || !isOpen(half) || half.parkedAt !== null) return false;
      half.parkedAt = clock.wall();
      half.reason = reason;
      return true;
    },
    async list(owner, most) {
      await working();
      return halves
        .filter((half) => isOpen(half) && isOf(half, owner))
        .slice(0, most)
        .map(view);
    },
    async find(owner, topic, id) {
      await working();
      const half = halves.find(
        (each) => isOf(each, owner) && each.row.message.topic === topic && each.row.message.id === id,
      );
      return half === undefined ? null : { place: half.place, state: half.state, free: half.until <= clock.now() };
    },
    async stats() {
      await working();
      const open = halves.filter(isOpen);
      const waiting = open.filter(({ parkedAt }) => parkedAt === null);
      return {
        undecided: waiting.length,
        parked: open.length - waiting.length,
        oldestAt: waiting[0]?.preparedAt ?? null,
      };
    },
  };
}
