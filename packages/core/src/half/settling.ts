import { sleep } from "../clock.ts";
import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { sameBytes } from "../publish/rejections.ts";
import type { Runtime } from "../runtime.ts";
import type { Decision } from "../port/half.ts";
import type { Incoming, Outgoing } from "../message.ts";
import type { BrokerHalves } from "./broker.ts";
import type { Handle } from "./offering.ts";

export interface SettlingOptions {
  readonly runtime: Runtime;
  readonly broker: BrokerHalves;
  readonly message: Outgoing;
  /** Wall-clock milliseconds. */
  readonly preparedAt: number;
  /** Null: another process sent the half message, or another life of this one. */
  readonly handle: Handle | null;
  readonly signal: AbortSignal;
  /** So many wait already that this one is left to the look-out, which finds it again when its lease is over. */
  crowded(): boolean;
}

/** A commit is done within milliseconds; what is not found after a second was perhaps lost, and looked for ever less often. */
const FIRST_LOOK_MS = 1_000;
const MOST_LOOK_MS = 10_000;
/** For so long after a commit has left, by whichever way, no second one does. */
const GRACE_MS = 3_000;
/** Where the broker does not say how long it asks: longer than it does by default, 15 times each 30 s. */
const ASKS_FOR_MS = 600_000;

/**
 * A committed half message that the broker has, from its record to a proof.
 *
 * There are two ways for the commit: ours, and the answer to the broker's question; when both are under way the message is
 * handed out twice. So one at a time:
 *
 *     told ──3 s──▶ may answer COMMIT ──3 s──▶ may answer COMMIT … ──▶ found: proved
 *       └─ asked meanwhile: UNKNOWN              asked once it is found: ROLLBACK, for that is a second copy
 *
 * An OK to either is no proof. The proof is the message itself among those that consumers get.
 */
export class Settling {
  readonly #o: SettlingOptions;
  #told = Number.NEGATIVE_INFINITY;
  #telling: Promise<void> | null = null;
  #proved = false;
  #wait = FIRST_LOOK_MS;

  constructor(options: SettlingOptions) {
    this.#o = options;
  }

  /** Our own commit is on its way to the broker, or has failed. */
  get telling(): boolean {
    return this.#telling !== null;
  }

  /** Resolves with false when the broker asks no more and the message is not there; rejects when the signal fires, or in a crowd. */
  async proved(): Promise<boolean> {
    const { runtime, broker, message, preparedAt, handle, signal } = this.#o;
    if (handle !== null) {
      this.#told = runtime.clock.now();
      this.#telling = broker.tell(handle.session, message, handle.handle, "commit");
      await this.#telling;
      this.#telling = null;
      this.#told = runtime.clock.now();
      failpoint("half.told");
      if (this.#o.crowded()) throw new TallyError("later", "too many wait for their proofs");
    }
    // One that was found is looked for at once: its commit is long past.
    for (let first = handle === null; !this.#proved; first = false) {
      if (!first) await sleep(runtime.clock, this.#wait, signal);
      signal.throwIfAborted();
      if (await this.#found()) break;
      const asksFor = (await broker.asksFor()) ?? ASKS_FOR_MS;
      signal.throwIfAborted();
      if (runtime.clock.wall() - preparedAt > asksFor && this.#rests()) return false;
      this.#wait = Math.min(MOST_LOOK_MS, 2 * this.#wait);
    }
    return true;
  }

  /** The broker asks. */
  async asked({ body }: Incoming): Promise<Decision> {
    const { message, runtime } = this.#o;
    // Of a run that was withdrawn before its work began.
    if (!sameBytes(body, message.body)) return "rollback";
    if (this.#telling !== null || !this.#rests()) return "unknown";
    // Whoever asks at the same moment is told nothing.
    this.#told = runtime.clock.now();
    if (await this.#found()) return "rollback";
    this.#told = runtime.clock.now();
    this.#wait = FIRST_LOOK_MS;
    return "commit";
  }

  #rests(): boolean {
    return this.#o.runtime.clock.now() - this.#told >= GRACE_MS;
  }

  async #found(): Promise<boolean> {
    this.#proved ||= (await this.#o.broker.delivered(this.#o.message)) === "yes";
    return this.#proved;
  }
}
