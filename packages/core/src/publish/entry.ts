import type { TallyError } from "../error.ts";
import type { Draft } from "../message.ts";
import type { OutboxMode } from "../outbox/options.ts";
import type { Spillable } from "../outbox/outbox.ts";
import type { RelayOutcome } from "../outbox/relay.ts";
import type { PutResult } from "../stores.ts";
import type { Caller } from "./callers.ts";
import type { Queue, Queued } from "./queue.ts";
import type { Batch } from "./senders.ts";
import type { TopicLine } from "./topic-line.ts";
import { HELD, type State } from "./transitions.ts";
import type { Timed } from "./wheel.ts";
import type { Admitted } from "./window.ts";

/** One message between `publish()` and its end: all that is allocated for it beside its snapshot and its caller. */
export class Entry implements Timed, Admitted, Spillable {
  readonly message: Draft;
  readonly line: TopicLine;
  /** Bytes that it takes in the window. */
  readonly bytes: number;
  /** See `Taken.given`. */
  readonly given: bigint | null;
  /** Who waits for it and gives up first; null: everyone has been answered, what is left happens in the background. */
  caller: Caller | null = null;
  /** The others that wait for it: its id was published again. */
  joined: Caller[] | null = null;

  /** When it goes into the outbox, and its place in the fence. */
  mode: OutboxMode = "off";
  slot: number | null = null;
  /** How long its row may count on being deduplicated, in milliseconds; null: it does not go into the outbox. */
  dedupeForMs: number | null = null;
  /** Its store has it already, apart: makes it a row there, when the turn of its key has come. */
  put: (() => Promise<PutResult>) | null = null;
  /** It comes from the outbox: who waits for its end. Nobody else does, and it is never dropped. */
  relayed: ((outcome: RelayOutcome) => void) | null = null;

  state: State = HELD;
  /** Monotonic: when `publish()` was called. */
  since = 0;
  validated = false;
  inWindow = false;
  /** Whether any copy ended in doubt. */
  doubted = false;
  /** Copies sent so far; copies of these without a verdict. */
  copies = 0;
  open = 0;
  /** Copies that came to nothing since the message was first sent: drives the back-off. */
  failures = 0;
  lastError: TallyError | null = null;
  /** Where the last copy went, until it has its verdict. */
  batch: Batch | null = null;
  lane = -1;
  /** Comes from the outbox: what its row says of where it goes; see `Sender.lane`. */
  kept: number | null = null;
  /** Monotonic: when the copy on the wire is overdue, or the back-off over. */
  actAt = 0;

  /** Its neighbours under the same ordered key. */
  nextOfKey: Entry | null = null;
  prevOfKey: Entry | null = null;

  due = 0;
  prev: Timed | null = null;
  nextTimed: Timed | null = null;

  /** Where it waits to be let on: window, declaration, session, lane. */
  queue: Queue<Queued> | null = null;
  ahead: Queued | null = null;
  behind: Queued | null = null;

  constructor(line: TopicLine, message: Draft, given: bigint | null = null) {
    this.given = given;
    this.line = line;
    this.message = message;
    this.bytes = message.body.byteLength;
  }
}
