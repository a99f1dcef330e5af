// One thing: one half message in this process: what its machine says is done here, and what comes of it is told to the machine.
import type { Timer } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { storeError } from "../inbox/claims.ts";
import type { Incoming } from "../message.ts";
import { asError, rejection } from "../publish/rejections.ts";
import { STORED } from "../publish/spilling.ts";
import type { Decision } from "../port/half.ts";
import type { NewRow, PutResult } from "../stores.ts";
import {
  found,
  type HalfEffect,
  type HalfInput,
  type HalfState,
  type HalfStep,
  type Held,
  RUN,
  step,
} from "./machine.ts";
import { ask, isDecision, notADecision } from "./ask.ts";
import { Holding } from "./holding.ts";
import { type Handle, offer } from "./offering.ts";
import { release } from "./releasing.ts";
import { Settling } from "./settling.ts";
import type { HalfContext } from "./options.ts";
import type { HalfCaller, HalfKind } from "./kind.ts";
import type { StoredHalf } from "./store.ts";

/** One half message while this process has to do with it: runs what {@link step} says. */
export class HalfMessage {
  readonly row: NewRow;
  readonly #kind: HalfKind;
  #caller: HalfCaller | null;
  #state: HalfState = { is: "ended" };
  readonly #holding: Holding;
  #timer: Timer | null = null;
  readonly #abort: AbortController = new AbortController();
  /** Fires at its end here. */
  readonly #over: AbortController = new AbortController();
  readonly #callerAborted = (): void => this.#abort.abort(this.#caller?.signal?.reason);
  #saidStore = false;
  #handle: Handle | null = null;
  #settling: Settling | null = null;

  private constructor(kind: HalfKind, row: NewRow, caller: HalfCaller | null) {
    this.#kind = kind;
    this.row = row;
    this.#caller = caller;
    this.#holding = new Holding({
      kind,
      id: row.message.id,
      // Its decision still counts, if it is the first.
      fenced: (error) => this.#abort.abort(error),
      surfaced: (text) => this.#surfaced(text),
    });
  }

  static run(kind: HalfKind, row: NewRow, caller: HalfCaller): HalfMessage {
    const message = new HalfMessage(kind, row, caller);
    caller.signal?.addEventListener("abort", message.#callerAborted);
    message.#take(RUN);
    return message;
  }

  /** Found with nobody at it, and held by us. */
  static found(kind: HalfKind, half: StoredHalf): HalfMessage {
    const message = new HalfMessage(kind, half.row, null);
    message.#take(found(half, kind.policy));
    return message;
  }

  get place(): number | null {
    return this.#holding.place;
  }

  /** Something of the user's is running, or its end is not written yet. */
  get atWork(): boolean {
    if (this.#settling?.telling === true) return true;
    return this.#state.is !== "releasing" && this.#state.is !== "settling" && this.#state.is !== "ended";
  }

  /** Another process is at it, or was and is dead. */
  get busy(): boolean {
    return this.#state.is === "busy";
  }

  /** The broker asks, and the record has no answer yet, or says commit. */
  asked(message: Incoming): Promise<Decision> {
    return this.#settling?.asked(message) ?? Promise.resolve("unknown");
  }

  /** This process stood still for longer than its lease, and has just found its own half message with nobody at it. */
  again({ fence }: StoredHalf): void {
    this.#holding.again(fence);
  }

  /** Gives up waiting for its turn. @returns false when it has begun: then its work decides. */
  giveUp(error: TallyError): boolean {
    if (this.#state.is !== "preparing" && this.#state.is !== "busy" && this.#state.is !== "offering") return false;
    this.#input({ type: "close", error });
    return true;
  }

  close(error: TallyError): void {
    this.#abort.abort(error);
    this.#input({ type: "close", error });
  }

  #input(input: HalfInput): void {
    this.#take(step(this.#state, input, this.#kind.policy));
  }

  #take([state, effects]: HalfStep): void {
    const was = this.#state.is;
    this.#state = state;
    for (const effect of effects) this.#do(effect);
    if (state.is !== "ended" || was === "ended") return;
    this.#timer?.cancel();
    this.#holding.letGo();
    this.#over.abort(new TallyError("closed", "it has come to its end"));
    this.#kind.ended(this);
  }

  #do(effect: HalfEffect): void {
    const { clock } = this.#kind.runtime;
    switch (effect.do) {
      case "prepare":
        return void this.#prepare();
      case "wait":
        this.#timer = clock.after(effect.ms, () => this.#input({ type: "timer" }));
        return;
      case "hold":
        return this.#holding.hold(effect.held);
      case "offer":
        return void this.#offer();
      case "withdraw":
        return void this.#quietly(this.#kind.store.withdraw(effect.held.place, this.#holding.fence(effect.held)));
      case "keep":
        return this.#kind.runtime.events.emit({ type: "half-kept", ...this.#about(), error: effect.error });
      case "work":
        this.#kind.runtime.events.emit({ type: "half-prepared", ...this.#about() });
        return void this.#work();
      case "check":
        return void this.#check(effect.held);
      case "decide":
        return void this.#decide(effect.held, effect.decision);
      case "tell":
        return this.#kind.runtime.events.emit({
          type: "half-decided",
          ...this.#about(),
          decision: effect.made.decision,
          by: effect.made.by,
        });
      case "release":
        return this.#release(effect.held);
      case "inform":
        return this.#inform(effect.decision);
      case "settle":
        return void this.#settle(effect.held);
      case "settled":
        return void this.#quietly(this.#settled(effect.held));
      case "defer":
        return void this.#quietly(
          this.#kind.store.renew(effect.held.place, this.#holding.fence(effect.held), effect.ms),
        );
      case "park":
        return void this.#quietly(this.#park(effect.held, effect.reason));
      case "answer":
        return this.#answer(effect.decision);
      case "reject":
        return this.#reject(effect.error);
    }
  }

  // ── the store ───────────────────────────────────────────────────────────────

  async #prepare(): Promise<void> {
    const { store, name, policy, runtime } = this.#kind;
    try {
      const answer = await store.prepare({ name, row: this.row }, policy.lease);
      if (answer.is === "prepared") {
        failpoint("half.prepared");
        // Given up meanwhile: no work has begun, and none will. Not a rollback, which later calls would be answered with.
        if (this.#state.is === "ended") return void this.#quietly(store.withdraw(answer.place, answer.fence));
      }
      this.#input({ type: "prepared", answer, wall: runtime.clock.wall() });
    } catch (thrown) {
      this.#input({ type: "failed", error: storeError("the half message could not be stored", thrown) });
    }
  }

  async #decide({ place, atBroker }: Held, decision: "commit" | "rollback"): Promise<void> {
    try {
      const atOnce = !this.row.message.ordered && !atBroker;
      const recorded = await this.#kind.store.decide(place, decision, atOnce);
      failpoint("half.decided");
      if (recorded?.released === true) this.#kind.stored();
      this.#input({ type: "decided", recorded });
    } catch (thrown) {
      this.#input({ type: "failed", error: storeError("the decision could not be recorded", thrown) });
    }
  }

  #release({ place }: Held): void {
    const put = (): Promise<PutResult> => this.#put(place);
    if (this.row.message.ordered) {
      try {
        this.#kind.inTurn(this.row.message, put);
      } catch (thrown) {
        // The topic was of another order when it was stored.
        this.#input({ type: "unreleasable", reason: describe(thrown) });
      }
    } else
      void put().then(
        () => this.#kind.stored(),
        () => {},
      );
  }

  async #put(place: number): Promise<PutResult> {
    const result = await release(this.#kind, place, (text) => this.#surfaced(text));
    if (result === "conflict")
      this.#input({ type: "unreleasable", reason: "the outbox has a row of the same id with another body" });
    else this.#input({ type: "released" });
    return result;
  }

  // ── the broker ──────────────────────────────────────────────────────────────

  async #offer(): Promise<void> {
    const broker = this.#kind.broker;
    if (broker === null) return this.#input({ type: "offered", refused: null });
    try {
      this.#handle = await offer(this.#kind, broker, this.row.message, this.#over.signal);
      this.#input({ type: "offered", refused: null });
    } catch (thrown) {
      const { id } = this.row.message;
      this.#input({ type: "offered", refused: rejection(asError(thrown, id), id, false) });
    }
  }

  /** A commit is told where it is settled. */
  #inform(decision: "commit" | "rollback"): void {
    const broker = this.#kind.broker;
    if (decision === "commit" || broker === null || this.#handle === null) return;
    void broker.tell(this.#handle.session, this.row.message, this.#handle.handle, decision);
  }

  async #settle({ preparedAt }: Held): Promise<void> {
    const { broker, runtime, closing, crowded } = this.#kind;
    if (broker === null) return this.#input({ type: "unproved" });
    const signal = AbortSignal.any([closing, this.#over.signal]);
    const { message } = this.row;
    this.#settling = new Settling({ runtime, broker, message, preparedAt, handle: this.#handle, signal, crowded });
    let how: HalfInput;
    try {
      how = { type: (await this.#settling.proved()) ? "proved" : "unproved" };
    } catch (thrown) {
      // The tally closes, or there are too many: whoever finds it committed goes on.
      how = { type: "close", error: asError(thrown, message.id) };
    }
    this.#settling = null;
    this.#input(how);
  }

  async #settled({ place }: Held): Promise<void> {
    if (await this.#kind.store.settle(place))
      this.#kind.runtime.events.emit({ type: "half-settled", ...this.#about() });
  }

  async #park({ place, checks, ...held }: Held, reason: string): Promise<void> {
    const parked = await this.#kind.store.park(place, this.#holding.fence({ place, checks, ...held }), reason);
    if (parked) this.#kind.runtime.events.emit({ type: "half-parked", ...this.#about(), checks, reason });
  }

  // ── the user's own ──────────────────────────────────────────────────────────

  async #work(): Promise<void> {
    const { id } = this.row.message;
    let decision: unknown;
    try {
      decision = await this.#caller?.work(this.#context());
    } catch (error) {
      failpoint("half.worked");
      return this.#input({ type: "threw", error });
    }
    failpoint("half.worked");
    if (isDecision(decision)) return this.#input({ type: "worked", decision });
    // Perhaps it was done, perhaps not.
    this.#reject(new TallyError("handler", notADecision("work", decision), { id, mayArrive: true }));
    this.#input({ type: "worked", decision: "unknown" });
  }

  async #check({ checks }: Held): Promise<void> {
    const { runtime } = this.#kind;
    const { answer, error } = await ask(this.#kind, this.row.message, this.#context());
    runtime.events.emit({ type: "half-checked", ...this.#about(), answer, checks, error });
    this.#input({ type: "checked", decision: answer, wall: runtime.clock.wall() });
  }

  #context(): HalfContext {
    const { id, key, headers } = this.row.message;
    return { id, key, headers, signal: this.#abort.signal };
  }

  #answer(decision: Decision): void {
    const { id } = this.row.message;
    const receipt = decision === "commit" ? { id, state: "stored" as const, proof: STORED } : null;
    this.#caller?.resolve({ id, decision, receipt });
    this.#answered();
  }

  #reject(error: unknown): void {
    const { id } = this.row.message;
    this.#caller?.reject(TallyError.is(error) && error.id === null ? rejection(error, id, error.mayArrive) : error);
    this.#answered();
  }

  #answered(): void {
    this.#caller?.signal?.removeEventListener("abort", this.#callerAborted);
    this.#caller = null;
  }

  #about(): { readonly name: string; readonly topic: string; readonly id: string } {
    const { topic, id } = this.row.message;
    return { name: this.#kind.name, topic, id };
  }

  /** What is not written is found again when the lease is over. */
  #quietly(work: Promise<unknown>): Promise<void> {
    return work.then(
      () => {},
      (thrown: unknown) => this.#surfaced(storeError("a half message could not be written", thrown).message),
    );
  }

  #surfaced(text: string): void {
    if (this.#saidStore) return;
    this.#saidStore = true;
    this.#kind.runtime.events.emit({ type: "surfaced", what: `half ${this.#kind.name}`, text });
  }
}
