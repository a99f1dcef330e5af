import {
  memoryOutbox,
  type MemoryOutbox,
  type MemoryOutboxOptions,
  seededRandom,
  virtualClock,
} from "@tallymq/testkit";
import { TallyError } from "../../src/error.ts";
import { type Topic, topic } from "../../src/topic.ts";
import { accepted, type Rig, rig, type RigOptions } from "./scripted-transport.ts";

export interface Order {
  readonly key: string;
  readonly n: number;
}
export const plain: Topic<Order> = topic<Order>("plain");
export const ordered: Topic<Order> = topic<Order>("ordered", { key: (o) => o.key, ordered: true });
export const away: TallyError = new TallyError("unreachable", "nobody listens", { retryable: true });

/** A publisher with an outbox in memory, in virtual time. */
export interface Spilling {
  readonly r: Rig;
  readonly outbox: MemoryOutbox;
  /** Until the store has answered and what follows from that has happened; no time passes. */
  settle(): Promise<void>;
  /** Accepts every open copy, again and again, until nothing is open. */
  accept(): Promise<void>;
}

export async function open(
  options: RigOptions & MemoryOutboxOptions & { readonly wall?: () => number } = {},
  given: MemoryOutbox | null = null,
): Promise<Spilling> {
  const { maxRows, wall, ...rest } = options;
  const outbox = given ?? memoryOutbox(maxRows === undefined ? {} : { maxRows });
  const clock = virtualClock();
  if (wall !== undefined) clock.wall = wall;
  const store = await outbox.openOutbox({ clock, random: seededRandom(1), surfaced: () => {} });
  const r = rig({ ...rest, spill: { store, policy: { after: 1_000, relayWindow: 100 } } });
  if (wall !== undefined) r.clock.wall = wall;
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 12; i++) await r.clock.advance(0);
  };
  return {
    r,
    outbox,
    settle,
    async accept() {
      for (let i = 0; i < 20; i++) {
        for (const copy of r.sessions.flatMap((s) => s.open)) copy.verdict(accepted);
        await settle();
      }
    },
  };
}

/** The session is gone, and none can be opened, for longer than the policy waits. */
export async function outage({ r, settle }: Spilling): Promise<void> {
  r.away = away;
  r.sessions.at(-1)?.lose();
  await r.clock.advance(1_010);
  await settle();
}

export async function heal({ r, settle }: Spilling): Promise<void> {
  r.away = null;
  const before = r.sessions.length;
  await r.clock.runUntil(() => r.sessions.length > before, 5_000);
  await settle();
}

export const ids = (r: Rig): string[] => r.copies.map((c) => c.message.id);
