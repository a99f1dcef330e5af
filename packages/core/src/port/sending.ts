import type { TallyError } from "../error.ts";
import type { Outgoing } from "../message.ts";

/** `unverified`: the broker does not say. */
export type Sure = "yes" | "no" | "unverified";
/** What the broker vouched for when it accepted a copy. */
export interface Proof {
  /** At least one queue (partition, group) has it. */
  readonly routed: Sure;
  /** It is on a disk. */
  readonly persisted: Sure;
  /** More than one node has it. */
  readonly replicated: Sure;
}

/**
 * The end of ONE copy in one session.
 *
 * | kind | meaning |
 * |---|---|
 * | `accepted` | the broker has it, with this proof |
 * | `unroutable`, `refused` | never, as it is |
 * | `later` | not taken; ask again after at least `afterMs` (nack, flow control). `error.mayArrive`: a part of it may be stored |
 * | `unsent` | never left this process |
 * | `doubt` | may be stored: time-out, lost session, unknown code |
 */
export type Verdict =
  | { readonly kind: "accepted"; readonly proof: Proof }
  | { readonly kind: "unroutable" | "refused" | "unsent" | "doubt"; readonly error: TallyError }
  | { readonly kind: "later"; readonly error: TallyError; readonly afterMs: number };

/**
 * A session for sending. `send` never throws and gives each index of the batch exactly one verdict, in any order,
 * synchronously or later. A session that ends reports `lost` first and then `doubt` (or `unsent`, or `refused` of the one that
 * ended it) for each copy that has no verdict, in the same tick; so does one that is disposed of, without `lost`.
 */
export interface Sender extends AsyncDisposable {
  /**
   * Pure: Kafka's partition, RocketMQ's queue, else 0. Core keeps at most `inFlightPerLane` there. Lanes may be numbered anew
   * after each start.
   * @param kept Where it is to go: what {@link Sender.kept} said of the lane of an earlier copy, perhaps in another process;
   *   or any whole number from 0 on, of which the same one always gives the same lane. Null: the sender chooses.
   */
  lane(message: Outgoing, kept: number | null): number;
  /** What a stored row remembers of a lane: a whole number from 0 to 2³¹ - 1, or null where it matters to nobody. Pure. */
  kept(lane: number): number | null;
  /** The batch is core's own array and stays unchanged. */
  send(lane: number, batch: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void): void;
}

/** Synchronous, in the order of the wire. */
export interface SenderEvents {
  /** The broker reads no more from this session; what `send` is given now stays in memory or comes back `unsent`. */
  blocked(reason: string): void;
  unblocked(): void;
  /**
   * It can take no more, though what it has out still ends by itself (Kafka: a producer of which one send was rejected). A
   * successor is to be opened. Once, before the verdict that says why; what `send` is given from here comes back `unsent`.
   */
  retired(error: TallyError): void;
  /** The session is over, whoever ended it except `dispose`. Once. */
  lost(error: TallyError): void;
  /** Something that a person should know, and that no verdict says (a tag out of range, a return without a publish). */
  surfaced(what: string): void;
}
