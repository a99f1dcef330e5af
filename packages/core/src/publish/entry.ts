import type { TallyError } from "../error.ts";
import type { Proof } from "../spi.ts";
import type { Receipt } from "./options.ts";
import type { Draft } from "./snapshot.ts";
import type { Batch } from "./senders.ts";
import type { TopicLine } from "./topics.ts";
import { HELD, type State } from "./transitions.ts";
import type { Timed } from "./wheel.ts";
import type { Admitted } from "./window.ts";

/** One message between `publish()` and its end: the only thing that is allocated for it beside its snapshot and promise. */
export class Entry implements Timed, Admitted {
  readonly message: Draft;
  readonly line: TopicLine;
  /** Bytes that it takes in the window. */
  readonly bytes: number;
  readonly #publisher: { admitted(entry: Entry): void };
  promise: Promise<Receipt>;
  #resolve!: (receipt: Receipt) => void;
  #reject!: (error: TallyError) => void;

  state: State = HELD;
  validated = false;
  inWindow = false;
  /** The caller has been answered; what is left happens in the background. */
  released = false;
  /** Copies sent so far; copies of these without a verdict; whether any of them ended in doubt. */
  copies = 0;
  open = 0;
  doubted = false;
  /** Copies that came to nothing since the message was first sent: drives the back-off. */
  failures = 0;
  lastError: TallyError | null = null;
  /** Where the last copy went. */
  batch: Batch | null = null;
  lane = -1;
  /** Monotonic: when the caller gives up; when the copy on the wire is overdue, or the back-off over. */
  deadlineAt: number;
  actAt = 0;

  signal: AbortSignal | null = null;
  onAbort: (() => void) | null = null;

  /** The one behind it under the same ordered key. */
  nextOfKey: Entry | null = null;

  due = 0;
  prev: Timed | null = null;
  nextTimed: Timed | null = null;

  constructor(publisher: { admitted(entry: Entry): void }, line: TopicLine, message: Draft, deadlineAt: number) {
    this.#publisher = publisher;
    this.line = line;
    this.message = message;
    this.bytes = message.body.byteLength;
    this.deadlineAt = deadlineAt;
    this.promise = this.#newPromise();
  }

  admitted(): void {
    this.#publisher.admitted(this);
  }

  /** A new caller takes over after the first has been released. */
  adopt(deadlineAt: number): void {
    this.released = false;
    this.deadlineAt = deadlineAt;
    this.promise = this.#newPromise();
  }

  accept(proof: Proof): void {
    this.#resolve({ id: this.message.id, state: "confirmed", proof });
  }

  reject(error: TallyError): void {
    this.#reject(error);
  }

  #newPromise(): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }
}
