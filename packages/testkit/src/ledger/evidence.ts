import {
  fingerprint,
  Messages,
  NONE,
  ACCEPTED,
  CONFIRMED,
  CONFLICT,
  CORRUPT,
  DEAD,
  DELIVERED,
  INVOKED,
  LEFT_IN_OUTBOX,
  LEFT_IN_QUEUE,
  SEEN_BY_TWO,
} from "./messages.ts";
import type { EffectRow, Remaining } from "./final.ts";
import { nameOf } from "./files.ts";
import { Latency } from "./latency.ts";
import type { Incarnation, LedgerLine, LedgerOp } from "./lines.ts";
import { KeyOrder } from "./order.ts";
import { TimelineRecorder } from "./timeline.ts";

const SATURATED = 0xffff;

/** Takes in a run's lines and final rows, in any order of files, and keeps what a verdict needs. */
export class Evidence {
  readonly messages: Messages = new Messages();
  readonly order: KeyOrder = new KeyOrder();
  readonly ops: Map<LedgerOp["op"], number> = new Map();
  readonly surfaced: Map<string, number> = new Map();
  readonly faultKinds: Map<string, number> = new Map();
  readonly killed: Map<string, Incarnation> = new Map();
  readonly publishLatency: Latency = new Latency();
  readonly timeline: TimelineRecorder = new TimelineRecorder();
  readonly remaining: Remaining[] = [];
  /** The dump's own count of itself, once for each `final` line. */
  readonly dumps: Extract<LedgerOp, { op: "final" }>[] = [];
  faults = 0;
  idleFaults = 0;
  spilled = 0;
  heals = 0;
  faultsAfterHeal = 0;
  /** Some file has its final state above its heal. */
  dumpBeforeHeal = false;
  firstMono: number = Infinity;
  lastMono = 0;

  /** Index of the file being read, whether it has seen `heal`, and its calls without an answer. */
  #file = -1;
  #healed = false;
  #dumped = false;
  #open = 0;

  beginFile(): void {
    this.#file += 1;
    this.#healed = false;
    this.#dumped = false;
    this.#open = 0;
  }

  /** Calls that have no answer when a process dies are no longer in flight: nobody waits for them. */
  endFile(lastMono: number): void {
    if (this.#open > 0) this.timeline.count("failed", lastMono, this.#open);
  }

  line(line: LedgerLine): void {
    this.ops.set(line.op, (this.ops.get(line.op) ?? 0) + 1);
    if (line.mono < this.firstMono) this.firstMono = line.mono;
    if (line.mono > this.lastMono) this.lastMono = line.mono;
    switch (line.op) {
      case "invoke":
        this.#invoke(line.id, line.mono, line.h ?? null);
        if (line.key != null && line.seq != null) this.order.call(this.messages.row(line.id), line, line.key, line.seq);
        return;
      case "accepted": {
        const row = this.#fact(line.id, ACCEPTED | (line.state === "confirmed" ? CONFIRMED : 0));
        if (line.state === "stored") this.spilled += 1;
        if (this.messages.invoker[row] === this.#file)
          this.publishLatency.add(line.mono - this.messages.invokedAt[row]!);
        return this.#answered("accepted", line.mono);
      }
      case "rejected":
        if (line.definite) bump(this.messages.rejections, this.messages.row(line.id));
        return this.#answered("failed", line.mono);
      case "unknown":
        return this.#answered("failed", line.mono);
      case "confirmed":
        return void this.#fact(line.id, CONFIRMED);
      case "deliver":
        return this.#deliver(line.id, line.mono);
      case "effect": {
        const row = this.messages.row(line.id);
        const at = this.messages.effectAt;
        if (at[row] === NONE || line.mono < at[row]!) at[row] = line.mono;
        return this.timeline.count("effects", line.mono);
      }
      case "surfaced":
        return count(this.surfaced, line.kind);
      case "fault-begin":
        return this.#fault(line.kind, line.mono, line.victim ?? null, line.inflight ?? null);
      case "fault-end":
        return this.timeline.faultEnds(line.kind, line.mono);
      case "heal":
        this.heals += 1;
        this.#healed = true;
        this.timeline.heal(line.mono);
        if (this.#dumped) this.dumpBeforeHeal = true;
        return;
      case "final-effect":
        return this.effect({ id: line.id, n: line.n, commit: line.commit, bodyHash: line.h ?? null });
      case "final-dlq":
        return this.deadLetter(line.id);
      case "final-queue":
        return this.left({ where: "queue", name: line.name, n: line.n, ids: line.ids ?? [] });
      case "final-outbox":
        return this.left({ where: "outbox", name: line.name, n: line.n, ids: line.ids ?? [] });
      case "final":
        this.#dumped = true;
        return void this.dumps.push(line);
      case "returned":
      case "resent":
      case "dedup":
      case "retry":
      case "dead":
      case "acked":
      case "mem":
      case "end":
        return;
    }
  }

  /** @throws RangeError for a row that no effect store could hold */
  effect({ id, n = 1, commit, bodyHash = null }: EffectRow): void {
    if (typeof id !== "string" || !Number.isSafeInteger(n) || n < 0)
      throw new RangeError("an effect row is { id: string, n: count, commit }");
    if (n === 0) return;
    const row = this.messages.row(id);
    this.messages.effects[row]! += n;
    this.order.effect(row, commit);
    // The logs may come after the dump, so the first hash of either side is kept until the other comes.
    if (bodyHash !== null) this.#effectBodies.push(row, fingerprint(bodyHash));
  }
  readonly #effectBodies: number[] = [];

  deadLetter(id: string): void {
    bump(this.messages.deadLetters, this.#fact(id, DEAD));
  }

  left(remaining: Remaining): void {
    this.remaining.push(remaining);
    for (const id of remaining.ids ?? []) this.#fact(id, remaining.where === "outbox" ? LEFT_IN_OUTBOX : LEFT_IN_QUEUE);
  }

  /** To be called when all is read: only then is every published body known. */
  compareBodies(): void {
    const { facts, body } = this.messages;
    for (let at = 0; at < this.#effectBodies.length; at += 2) {
      const row = this.#effectBodies[at]!;
      const conflict = (facts[row]! & CONFLICT) !== 0;
      if (!conflict && body[row] !== NONE && body[row] !== this.#effectBodies[at + 1]) facts[row]! |= CORRUPT;
    }
  }

  #fact(id: string, fact: number): number {
    const row = this.messages.row(id);
    this.messages.facts[row]! |= fact;
    return row;
  }

  #invoke(id: string, mono: number, hash: string | null): void {
    const m = this.messages;
    const row = this.#fact(id, INVOKED);
    bump(m.invokes, row);
    m.invoker[row] = this.#file;
    m.invokedAt[row] = mono;
    if (m.firstInvokedAt[row] === NONE || mono < m.firstInvokedAt[row]!) m.firstInvokedAt[row] = mono;
    if (hash !== null) {
      const print = fingerprint(hash);
      if (m.body[row] === NONE) m.body[row] = print;
      else if (m.body[row] !== print) m.facts[row]! |= CONFLICT;
    }
    this.#open += 1;
    this.timeline.count("invoked", mono);
  }

  #answered(tick: "accepted" | "failed", mono: number): void {
    this.#open -= 1;
    this.timeline.count(tick, mono);
  }

  #deliver(id: string, mono: number): void {
    const m = this.messages;
    const row = this.#fact(id, DELIVERED);
    m.deliveries[row]! += 1;
    if (m.deliverer[row] !== NONE && m.deliverer[row] !== this.#file) m.facts[row]! |= SEEN_BY_TWO;
    m.deliverer[row] = this.#file;
    this.timeline.count("delivered", mono);
  }

  #fault(kind: string, mono: number, victim: Incarnation | null, inflight: number | null): void {
    if (this.#healed) this.faultsAfterHeal += 1;
    if (inflight === 0) this.idleFaults += 1;
    else {
      this.faults += 1;
      count(this.faultKinds, kind);
    }
    if (victim !== null) this.killed.set(nameOf(victim), victim);
    this.timeline.faultBegins(kind, mono, victim, inflight);
  }
}

function bump(column: Uint16Array, row: number): void {
  if (column[row]! < SATURATED) column[row]! += 1;
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}
