import { describe, TallyError } from "../error.ts";
import type { Timer } from "../clock.ts";
import { failpoint } from "../failpoints.ts";
import type { Runtime } from "../runtime.ts";
import { SessionKeeper } from "../session/keeper.ts";
import type { Outgoing } from "../message.ts";
import type { Sender, Verdict } from "../port/sending.ts";
import type { Entry } from "./entry.ts";
import type { WireLane } from "./lanes.ts";

/** One session for sending. `open`: copies without a verdict. */
export interface SenderSession {
  readonly sender: Sender;
  readonly epoch: number;
  open: number;
  blocked: boolean;
  /** Monotonic: since when the broker reads from it, as far as it has said so. */
  readingSince: number;
  /** Monotonic: when the broker said that it reads no more; counts while `blocked`. */
  blockedSince: number;
  retired: Timer | null;
}

/** Copies that left together: one call of `send`. */
export interface Batch {
  readonly session: SenderSession;
  readonly lane: WireLane;
  readonly entries: readonly Entry[];
  /** Copies of it without a verdict. */
  left: number;
  /** Counts among those that its lane waits for. */
  holds: boolean;
}

export interface SendersOptions {
  readonly runtime: Runtime;
  /** A retired session is given up when its verdicts have not come for so long. */
  readonly drainWithin: number;
  /** Topology, on each new session. */
  declare(signal: AbortSignal): Promise<void>;
  /** Once more, with the session open, what was refused. */
  confirm(signal: AbortSignal): Promise<void>;
  opened(): void;
  dropped(): void;
  /** The session in use was retired: there is none until its successor is open. */
  retired(): void;
  blocked(): void;
  unblocked(): void;
  verdict(batch: Batch, index: number, verdict: Verdict): void;
}

const MOST_RETIRED = 2;

/**
 * The session in use and its retired predecessors. An overdue message is never resent on the session that may still
 * answer: that session is retired (no new sends, its verdicts still count) and a successor takes over. A retired one is
 * disposed of when it is drained, lost, or overdue itself; at most two are kept.
 */
export class Senders {
  readonly #o: SendersOptions;
  readonly #keeper: SessionKeeper<Sender>;
  #current: SenderSession | null = null;
  #retired: SenderSession[] = [];
  /** Events may come before `openSender` has settled: by epoch, until then. */
  #blockedEarly = 0;
  readonly #disposals: Set<Promise<void>> = new Set();

  constructor(options: SendersOptions) {
    this.#o = options;
    const { runtime } = options;
    this.#keeper = new SessionKeeper<Sender>({
      role: "send",
      what: runtime.transport.name,
      clock: runtime.clock,
      random: runtime.random,
      events: runtime.events,
      backoff: runtime.reconnect,
      connectWithin: runtime.connectWithin,
      open: (epoch, lost, signal) => this.#open(epoch, lost, signal),
      opened: (sender, epoch) => this.#use(sender, epoch),
      dropped: () => {
        this.#current = null;
        options.dropped();
      },
    });
  }

  /** The session in use, or null while there is none. */
  get current(): SenderSession | null {
    return this.#current;
  }

  /** Monotonic: since when there is no session; null while there is one. */
  get downSince(): number | null {
    return this.#keeper.downSince;
  }

  /** Why there is no session; null while there is one, or nothing is known. */
  get trouble(): TallyError | null {
    return this.#keeper.trouble;
  }

  /** How the first try ended: rejects when it failed for good. */
  get first(): Promise<void> {
    return this.#keeper.first;
  }

  /** Gives the batch to its session. */
  send(batch: Batch, messages: readonly Outgoing[]): void {
    const { session, entries } = batch;
    session.open += entries.length;
    for (const entry of entries) entry.batch = batch;
    session.sender.send(batch.lane.number, messages, (index, verdict) => {
      session.open--;
      batch.left--;
      this.#o.verdict(batch, index, verdict);
      if (session.retired !== null && session.open === 0) this.#end(session);
    });
    // Rows are sent first, so that one in the batch is its first.
    failpoint(entries[0]?.relayed == null ? "publisher.sent" : "relay.sent");
  }

  /** Retires the session in use, of which a copy is overdue or which takes no more, and opens a successor at once. */
  retire(): void {
    const session = this.#current;
    if (session === null || this.#keeper.replace() === null) return;
    const { runtime } = this.#o;
    this.#current = null;
    runtime.events.emit({
      type: "session-retired",
      what: runtime.transport.name,
      epoch: session.epoch,
      open: session.open,
    });
    session.retired = runtime.clock.after(this.#o.drainWithin, () => this.#end(session));
    this.#retired.push(session);
    const [oldest] = this.#retired;
    if (this.#retired.length > MOST_RETIRED && oldest !== undefined) this.#end(oldest);
    this.#o.retired();
  }

  async close(): Promise<void> {
    this.#current = null;
    for (const session of this.#retired.slice()) this.#end(session);
    await this.#keeper.close();
    while (this.#disposals.size > 0) await Promise.allSettled(this.#disposals);
  }

  async #open(epoch: number, lost: (error: TallyError) => void, signal: AbortSignal): Promise<Sender> {
    const { runtime } = this.#o;
    await this.#o.declare(signal);
    const sender = await runtime.transport.openSender(
      {
        blocked: (reason) => this.#blocked(epoch, reason),
        unblocked: () => this.#unblocked(epoch),
        retired: (error) => this.#spent(epoch, error),
        lost: (error) => {
          lost(error);
          const retired = this.#retired.find((s) => s.epoch === epoch);
          if (retired !== undefined) this.#end(retired);
        },
        surfaced: (text) => runtime.events.emit({ type: "surfaced", what: runtime.transport.name, text }),
      },
      signal,
    );
    await this.#o.confirm(signal);
    return sender;
  }

  #use(sender: Sender, epoch: number): void {
    this.#current = {
      sender,
      epoch,
      open: 0,
      blocked: this.#blockedEarly === epoch,
      readingSince: this.#o.runtime.clock.now(),
      blockedSince: this.#o.runtime.clock.now(),
      retired: null,
    };
    this.#o.opened();
  }

  /** By its own word: it takes no more. */
  #spent(epoch: number, error: TallyError): void {
    const { events, transport } = this.#o.runtime;
    events.emit({ type: "surfaced", what: transport.name, text: `a session takes no more: ${error.message}` });
    if (this.#current?.epoch === epoch) this.retire();
  }

  #blocked(epoch: number, reason: string): void {
    const { events, transport } = this.#o.runtime;
    events.emit({ type: "blocked", what: transport.name, reason });
    const session = this.#find(epoch);
    if (session === null) this.#blockedEarly = epoch;
    else {
      if (!session.blocked) session.blockedSince = this.#o.runtime.clock.now();
      session.blocked = true;
      this.#o.blocked();
    }
  }

  #unblocked(epoch: number): void {
    const { clock, events, transport } = this.#o.runtime;
    events.emit({ type: "unblocked", what: transport.name });
    const session = this.#find(epoch);
    if (session === null) {
      if (this.#blockedEarly === epoch) this.#blockedEarly = 0;
      return;
    }
    if (session.blocked) session.readingSince = clock.now();
    session.blocked = false;
    if (session === this.#current) this.#o.unblocked();
  }

  #find(epoch: number): SenderSession | null {
    if (this.#current?.epoch === epoch) return this.#current;
    return this.#retired.find((s) => s.epoch === epoch) ?? null;
  }

  /** Disposes of a retired session; what it still had open comes back as doubt, by the port's contract. */
  #end(session: SenderSession): void {
    const at = this.#retired.indexOf(session);
    if (at < 0) return;
    this.#retired.splice(at, 1);
    session.retired?.cancel();
    const { events, transport } = this.#o.runtime;
    const done = Promise.resolve(session.sender[Symbol.asyncDispose]())
      .catch((thrown: unknown) =>
        events.emit({
          type: "surfaced",
          what: transport.name,
          text: `a retired session did not close: ${describe(thrown)}`,
        }),
      )
      .finally(() => this.#disposals.delete(done));
    this.#disposals.add(done);
  }
}
