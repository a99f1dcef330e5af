import assert from "node:assert/strict";
import {
  type Outgoing,
  type Sender,
  type SenderEvents,
  TallyError,
  type Traits,
  type Verdict,
} from "@tallymq/core/spi";
import type { Watch } from "./wait.ts";

/** A sender under observation: what it reports is recorded, in order. */
export class TestSender {
  /** `lost`, `retired`, `blocked`, `unblocked`, and the kind of each verdict, in the order in which they were reported. */
  readonly journal: string[] = [];
  readonly lost: TallyError[] = [];
  readonly retired: TallyError[] = [];
  /** Verdicts that came in a later turn of the event loop than `lost`. */
  lateVerdicts = 0;
  disposed = false;
  readonly #watch: Watch;
  readonly #copies: Copies[] = [];
  readonly #tails: Map<number, Promise<void>> = new Map();
  #traits: Traits | null = null;
  #sender: Sender | null = null;
  #lostTurnOver = false;
  #lostAfterDispose = 0;

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  readonly events: SenderEvents = {
    blocked: () => this.#note("blocked"),
    unblocked: () => this.#note("unblocked"),
    retired: (error) => {
      this.retired.push(error);
      this.#note("retired");
    },
    lost: (error) => {
      this.lost.push(error);
      if (this.disposed) this.#lostAfterDispose++;
      setImmediate(() => (this.#lostTurnOver = true));
      this.#note("lost");
    },
    surfaced: () => {},
  };

  use(sender: Sender, traits: Traits): void {
    this.#sender = sender;
    this.#traits = traits;
  }

  /** Takes no more: a successor would be opened. */
  get over(): boolean {
    return this.lost.length + this.retired.length > 0;
  }

  /** Hands the messages over now, one batch a lane; where a lane takes one batch at a time, the next waits for it. */
  post(messages: readonly Outgoing[]): Copies {
    const sender = this.#sender;
    assert.ok(sender !== null, "the sender is open");
    const copies = new Copies(messages, this.#watch);
    this.#copies.push(copies);
    for (const [lane, indexes] of byLane(sender, messages)) {
      const send = (): void => {
        const batch = indexes.map((index) => messages[index]!);
        sender.send(lane, batch, (at, verdict) => {
          if (this.#lostTurnOver) this.lateVerdicts++;
          copies.record(indexes[at] ?? -1, verdict);
          this.#note(verdict.kind);
        });
      };
      if (this.#traits?.inFlightPerLane === "window") send();
      else {
        const before = this.#tails.get(lane) ?? Promise.resolve();
        const after = before.then(send).then(() => copies.have(indexes));
        this.#tails.set(
          lane,
          after.then(
            () => {},
            () => {},
          ),
        );
      }
    }
    return copies;
  }

  /** Sends and expects every copy to be accepted. */
  async accepted(messages: readonly Outgoing[]): Promise<void> {
    if (messages.length === 0) return;
    const verdicts = await this.post(messages).all();
    assert.deepEqual(tally(verdicts), { accepted: messages.length }, "every copy is accepted");
  }

  async dispose(): Promise<void> {
    this.disposed = true;
    await this.#sender?.[Symbol.asyncDispose]();
  }

  /** What holds for every sender at the end of every case, after its disposal. */
  check(): void {
    for (const copies of this.#copies) copies.check();
    assert.ok(this.lost.length <= 1, `expected lost at most once for a sender; got ${this.lost.length}`);
    assert.ok(this.retired.length <= 1, `expected retired at most once for a sender; got ${this.retired.length}`);
    assert.equal(this.#lostAfterDispose, 0, "expected no lost from a sender that was disposed of");
    for (const error of this.lost)
      assert.ok(TallyError.is(error), `expected lost with a TallyError; got ${String(error)}`);
  }

  #note(what: string): void {
    this.journal.push(what);
    this.#watch.changed();
  }
}

/** The copies of one hand-over and their verdicts, by index. */
export class Copies {
  readonly messages: readonly Outgoing[];
  readonly verdicts: (Verdict | undefined)[];
  readonly #times: number[];
  readonly #strange: number[] = [];
  readonly #watch: Watch;

  constructor(messages: readonly Outgoing[], watch: Watch) {
    this.messages = messages;
    this.verdicts = messages.map(() => undefined);
    this.#times = messages.map(() => 0);
    this.#watch = watch;
  }

  record(index: number, verdict: Verdict): void {
    if (!(index in this.#times)) this.#strange.push(index);
    else {
      this.verdicts[index] ??= verdict;
      this.#times[index] = (this.#times[index] ?? 0) + 1;
    }
  }

  async all(): Promise<readonly Verdict[]> {
    return await this.have(this.messages.map((_, index) => index));
  }

  async have(indexes: readonly number[]): Promise<readonly Verdict[]> {
    const missing = (): number[] => indexes.filter((index) => this.verdicts[index] === undefined);
    await this.#watch.until(
      `a verdict for each of ${indexes.length} copies`,
      () => missing().length === 0,
      () => `none for ${missing().length}`,
    );
    return indexes.map((index) => this.verdicts[index]!);
  }

  ofKind(kind: Verdict["kind"]): readonly Outgoing[] {
    return this.messages.filter((_, index) => this.verdicts[index]?.kind === kind);
  }

  check(): void {
    assert.deepEqual(this.#strange, [], "expected verdicts only for indexes of the batch");
    const wrong = this.#times.flatMap((times, index) => (times === 1 ? [] : [`${times} for index ${index}`]));
    assert.deepEqual(wrong, [], "expected exactly one verdict for each index of each batch");
    for (const verdict of this.verdicts) if (verdict !== undefined) checkVerdict(verdict);
  }
}

/** How many verdicts of each kind. */
export function tally(verdicts: readonly Verdict[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of verdicts) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

function checkVerdict(verdict: Verdict): void {
  if (verdict.kind === "accepted") {
    const sure = ["yes", "no", "unverified"];
    for (const part of ["routed", "persisted", "replicated"] as const)
      assert.ok(sure.includes(verdict.proof?.[part]), `expected a proof with ${part}; got ${JSON.stringify(verdict)}`);
    return;
  }
  assert.ok(TallyError.is(verdict.error), `expected a TallyError with the verdict ${verdict.kind}`);
  // `later` may be either: of several queues behind one publish, some may have taken it.
  if (verdict.kind !== "later")
    assert.equal(
      verdict.error.mayArrive,
      verdict.kind === "doubt",
      `expected mayArrive for doubt alone; got it wrong for ${verdict.kind}`,
    );
}

function byLane(sender: Sender, messages: readonly Outgoing[]): ReadonlyMap<number, number[]> {
  const lanes = new Map<number, number[]>();
  for (const [index, message] of messages.entries()) {
    const lane = sender.lane(message, null);
    const indexes = lanes.get(lane);
    if (indexes === undefined) lanes.set(lane, [index]);
    else indexes.push(index);
  }
  return lanes;
}
