// One thing: a model of what a broker, its callers and their listeners may do, played at random against the publisher.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TallyError } from "../../src/error.ts";
import type { StandardSchema } from "../../src/schema.ts";
import type { Verdict } from "../../src/spi.ts";
import { topic } from "../../src/topic.ts";
import { accepted, away, type Copy, nack, no, rig, type Rig, watch } from "../support/scripted-transport.ts";

const RUNS = 300;

interface Item {
  readonly key: string;
  readonly n: number;
  /** How its validation ends; `gate`: when a later step opens it. */
  readonly valid: "at once" | "soon" | "never" | "gate" | "no" | "throws";
}

const kinds = fc.constantFrom<Verdict["kind"]>(
  "accepted",
  "accepted",
  "accepted",
  "later",
  "unroutable",
  "refused",
  "unsent",
  "doubt",
);
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("publish" as const),
      ordered: fc.boolean(),
      key: fc.constantFrom("a", "b", "c"),
      deadline: fc.constantFrom(1_000, 30_000, 600_000),
      signal: fc.option(fc.nat(2)),
      valid: fc.constantFrom<Item["valid"]>("at once", "at once", "at once", "soon", "never", "gate", "no", "throws"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("again" as const),
      which: fc.nat(30),
      deadline: fc.constantFrom(1_000, 30_000, 600_000),
      signal: fc.option(fc.nat(2)),
    }),
  },
  { weight: 10, arbitrary: fc.record({ do: fc.constant("verdict" as const), which: fc.nat(20), kind: kinds }) },
  // From here on the copy has no verdict of its own: it ends with its session, if at all.
  { weight: 2, arbitrary: fc.record({ do: fc.constant("mute" as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose" as const), which: fc.nat(2) }) },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(0, 5, 200, 3_000, 16_000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("block" as const), on: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("away" as const), on: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("forbid" as const), on: fc.boolean(), final: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("abort" as const), signal: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("gates" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("at once" as const),
      how: fc.option(fc.oneof(kinds, fc.constant("lose" as const))),
    }),
  },
);
const close = fc.record({ at: fc.nat(200), within: fc.constantFrom(1_000, 100_000) });
const setting = fc.record({
  seed: fc.nat(100_000),
  window: fc.constantFrom(1, 3, 6),
  lanes: fc.constantFrom(1, 1, 2),
  inFlightPerLane: fc.constantFrom("window" as const, 1 as const),
  resendsInSession: fc.constantFrom(false, false, true),
});

/** One message: what the calls that share it were told is held against the fate of its copies. */
interface Message {
  readonly id: string;
  readonly item: Item;
  readonly ordered: boolean;
  readonly topic: string;
  readonly seq: number;
}
interface Call {
  readonly message: Message | null;
  readonly seen: ReturnType<typeof watch>;
}

class World {
  readonly r: Rig;
  readonly calls: Call[] = [];
  readonly messages: Message[] = [];
  readonly judged: Map<Copy, Verdict["kind"]> = new Map();
  readonly muted: Set<Copy> = new Set();
  readonly firstStored: Message[] = [];
  readonly gates: (() => void)[] = [];
  readonly aborts: AbortController[] = [0, 1, 2].map(() => new AbortController());
  readonly #seqs: Map<string, number> = new Map();
  readonly #tellsApart: boolean;
  readonly #oneBatch: boolean;
  closed: ReturnType<typeof watch> | null = null;

  constructor(options: {
    seed: number;
    window: number;
    lanes: number;
    inFlightPerLane: "window" | 1;
    resendsInSession: boolean;
  }) {
    const { seed, window, lanes, inFlightPerLane, resendsInSession } = options;
    this.#tellsApart = resendsInSession;
    this.#oneBatch = inFlightPerLane === 1;
    this.r = rig({
      seed,
      window,
      confirmTimeout: "15s",
      traits: { inFlightPerLane, resendsInSession },
      lane: (m) => (m.key ?? "").charCodeAt(0) % lanes,
    });
  }

  readonly schema: StandardSchema<Item> = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => {
        const item = value as Item;
        if (item.valid === "at once") return { value: item };
        if (item.valid === "soon") return Promise.resolve({ value: item });
        if (item.valid === "no") return Promise.resolve({ issues: [{ message: "no" }] });
        if (item.valid === "throws") return Promise.reject(new Error("the look-up failed"));
        return new Promise((resolve) => {
          if (item.valid === "gate") this.gates.push(() => resolve({ value: item }));
        });
      },
    },
  };
  readonly ordered = topic("ordered", { schema: this.schema, key: (i) => i.key, ordered: true });
  readonly plain = topic("plain", { schema: this.schema, key: (i) => i.key });

  publish(id: string, item: Item, ordered: boolean, deadline: number, signal: number | null): void {
    const { r } = this;
    const into = ordered ? this.ordered : this.plain;
    const [live, joined] = [r.publisher.live, r.count("joined")];
    const within = item.valid === "never" ? Math.min(deadline, 30_000) : deadline;
    const given = signal === null ? undefined : this.aborts[signal]?.signal;
    const seen = watch(
      r.publisher.publish(into, item, { id, deadline: within, ...(given === undefined ? {} : { signal: given }) }),
    );
    let message: Message | null = null;
    if (r.count("joined") > joined)
      message = this.messages.findLast((m) => m.id === id && m.topic === into.name) ?? null;
    else if (r.publisher.live > live) {
      const seq = (this.#seqs.get(into.name) ?? 0) + 1;
      this.#seqs.set(into.name, seq);
      message = { id, item, ordered, topic: into.name, seq };
      this.messages.push(message);
    }
    this.calls.push({ message, seen });
  }

  open(): Copy[] {
    return this.r.sessions.flatMap((session) => session.open).filter((copy) => !this.muted.has(copy));
  }

  of({ topic: name, seq }: Message): Copy[] {
    return this.r.copies.filter(({ message }) => message.topic === name && message.seq === seq);
  }

  judge(copy: Copy, kind: Verdict["kind"]): void {
    copy.verdict(this.note(copy, kind));
  }

  note(copy: Copy, kind: Verdict["kind"]): Verdict {
    this.judged.set(copy, kind);
    if (kind !== "accepted") return kind === "later" ? nack() : no(kind);
    const message = this.messages.find((m) => m.topic === copy.message.topic && m.seq === copy.message.seq);
    if (message !== undefined && !this.firstStored.includes(message)) this.firstStored.push(message);
    return accepted;
  }

  /** What must hold at any time. */
  look(): void {
    const living = this.r.sessions.filter((session) => !session.disposed);
    expect(living.length).toBeLessThanOrEqual(3);
    const out = new Map<string, Set<string>>();
    for (const session of living) {
      const ids = session.open.map((c) => `${c.message.topic}/${c.message.id}`);
      // Two open copies of one id in one session would make its answers ambiguous.
      if (!this.#tellsApart) expect(new Set(ids).size).toBe(ids.length);
      if (this.#oneBatch && !this.#tellsApart) {
        for (const lane of [0, 1]) {
          const batches = new Set(session.open.filter((c) => c.lane === lane).map((c) => c.batch));
          expect(batches.size, "batches of one lane").toBeLessThanOrEqual(1);
        }
      }
      for (const { message } of session.open) {
        // An older copy of what another copy has brought home may stay out: it can double, not overtake.
        const home = this.firstStored.some((m) => m.topic === message.topic && m.seq === message.seq);
        if (!message.ordered || home) continue;
        const key = message.key ?? "";
        out.set(key, (out.get(key) ?? new Set()).add(message.id));
      }
    }
    // Where copies can be told apart, one that is given up on may stay open for ever.
    if (!this.#tellsApart)
      for (const ids of out.values())
        expect(ids.size, "messages of one ordered key on the wire").toBeLessThanOrEqual(1);
  }

  /** The broker accepts everything from now on, except what it has forgotten. */
  async heal(): Promise<void> {
    const { r } = this;
    r.away = null;
    r.refuseTopic.clear();
    r.atOnce = null;
    for (const open of this.gates.splice(0)) open();
    // Well below the longest deadline: a message that only its deadline would free is stuck.
    for (let i = 0; i < 400 && r.publisher.live > 0; i++) {
      r.sessions.at(-1)?.events.unblocked();
      for (const copy of this.open()) this.judge(copy, "accepted");
      await r.clock.advance(i < 20 ? 50 : 500);
      this.look();
    }
  }

  truth(): void {
    for (const { message, seen } of this.calls) {
      expect(seen.state, message?.id).not.toBe("pending");
      if (message === null) continue;
      const copies = this.of(message);
      const stored = copies.filter((copy) => this.judged.get(copy) === "accepted").length;
      // A copy that its session ended without the script's verdict is one that the broker may hold.
      const doubtful = copies.filter((copy) => (this.judged.get(copy) ?? "doubt") === "doubt").length;
      const error: TallyError | undefined = seen.error;
      if (seen.state === "resolved") expect(stored, `${message.id} was confirmed`).toBeGreaterThan(0);
      else if (error?.mayArrive === false) {
        expect(stored, `${message.id} was rejected for good: ${error.message}`).toBe(0);
        expect(doubtful, `${message.id} was rejected for good with a copy in doubt`).toBe(0);
      }
    }
    for (const key of ["a", "b", "c"]) {
      const called = this.messages.filter((m) => m.ordered && m.item.key === key);
      expect(this.firstStored.filter((m) => called.includes(m))).toEqual(
        called.filter((m) => this.firstStored.includes(m)),
      );
    }
  }
}

async function play(
  steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[],
  options: ConstructorParameters<typeof World>[0],
  end: { at: number; within: number },
): Promise<void> {
  const world = new World(options);
  const { r } = world;
  for (const [n, s] of steps.entries()) {
    if (n === end.at) world.closed = watch(r.publisher.close(end.within));
    if (s.do === "publish") {
      const item: Item = { key: s.key, n, valid: s.valid };
      world.publish(`m${n}`, item, s.ordered, s.deadline, s.signal);
    } else if (s.do === "again") {
      const known = world.messages[s.which % Math.max(1, world.messages.length)];
      if (known !== undefined) world.publish(known.id, known.item, known.ordered, s.deadline, s.signal);
    } else if (s.do === "verdict") {
      const open = world.open();
      const copy = open[s.which % Math.max(1, open.length)];
      if (copy !== undefined) world.judge(copy, s.kind);
    } else if (s.do === "mute") {
      const open = world.open();
      const copy = open[s.which % Math.max(1, open.length)];
      if (copy !== undefined) world.muted.add(copy);
    } else if (s.do === "lose")
      r.sessions
        .filter((session) => !session.disposed)
        .at(-1 - s.which)
        ?.lose();
    else if (s.do === "block") r.sessions.at(-1)?.events[s.on ? "blocked" : "unblocked"]("alarm");
    else if (s.do === "away") r.away = s.on ? away : null;
    else if (s.do === "forbid") {
      if (s.on) r.refuseTopic.set("ordered", s.final ? no("refused").error : away);
      else r.refuseTopic.clear();
    } else if (s.do === "abort") {
      world.aborts[s.signal]?.abort();
      world.aborts[s.signal] = new AbortController();
    } else if (s.do === "gates") for (const open of world.gates.splice(0)) open();
    else if (s.do === "at once") {
      const { how } = s;
      r.atOnce =
        how === null
          ? null
          : (copy) => {
              if (how !== "lose") return world.note(copy, how);
              r.atOnce = null;
              r.sessions.find((session) => session.number === copy.session)?.lose();
              return null;
            };
    }
    if (s.do === "pass") await r.clock.advance(s.ms);
    world.look();
  }
  await world.heal();
  expect(r.publisher.live, "messages left over").toBe(0);
  world.closed ??= watch(r.publisher.close(1_000));
  await r.clock.advance(0);
  world.truth();
  expect(world.closed.state).toBe("resolved");
  expect(r.clock.pending(), "timers left over").toBe(0);
  expect(r.sessions.every((session) => session.disposed)).toBe(true);
}

describe("whatever broker, callers and time do, in whatever order", () => {
  it("each publish ends once and truthfully, a key keeps its order, and nothing is left behind", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), setting, close, (steps, options, end) =>
        play(steps, options, end),
      ),
      { numRuns: Number(process.env["RANDOM_RUNS"] ?? RUNS) },
    );
  }, 600_000);
});
