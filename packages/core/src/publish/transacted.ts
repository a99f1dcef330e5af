import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { storeError } from "../inbox/claims.ts";
import type { Outbox } from "../outbox/outbox.ts";
import type { Runtime } from "../runtime.ts";
import type { InboxTransactions } from "../stores.ts";
import type { Topic } from "../topic.ts";
import type { Entry } from "./entry.ts";
import type { Taken } from "./intake.ts";
import type { PublishOptions, Receipt } from "./options.ts";
import { aborted, asError, assertValid, rejection, unstored } from "./rejections.ts";
import { STORED } from "./spilling.ts";
import type { TopicLine } from "./topic-line.ts";

export interface TransactedOptions {
  readonly runtime: Runtime;
  readonly transactions: InboxTransactions<unknown>;
  readonly outbox: Pick<Outbox<Entry>, "reserve" | "settle">;
  slot(topic: string, key: string | null): number;
  /** No row of this slot is in another store. */
  mayTransact(slot: number): boolean;
}

/** A call of `publish(…, { tx })`. Its row's token in the fence. */
interface Put {
  readonly topic: string;
  readonly id: string;
  readonly dedupeForMs: number;
}

/**
 * What one handler publishes in its transaction: from `begin` to the transaction's end, of which it is told.
 *
 * A publish that fails fails the transaction, whether or not the handler looked at it: the effect is not to commit
 * without its message. So does one that the handler did not wait for.
 */
export class TxPublishes {
  readonly tx: unknown;
  readonly #end: (puts: readonly Put[], is: TxEnd) => void;
  /** Rows that are in the transaction. */
  readonly puts: Put[] = [];
  /** Calls without an answer. */
  open = 0;
  failed: TallyError | null = null;
  over = false;
  /** Resolves when all earlier calls have given their rows to the store: a key's rows stand in the order of the calls. */
  given: Promise<void> = Promise.resolve();

  constructor(tx: unknown, end: (puts: readonly Put[], is: TxEnd) => void) {
    this.tx = tx;
    this.#end = end;
  }

  /** The handler has returned. @throws TallyError what the transaction is to fail with */
  returned(): void {
    this.over = true;
    if (this.failed !== null) throw this.failed;
    if (this.open > 0)
      throw new TallyError("handler", "the handler returned before its publish(…, { tx }) was done: await it");
  }

  /** The transaction has ended; `unsure` if nobody can tell how. */
  ended(is: TxEnd): void {
    this.over = true;
    this.#end(this.puts, is);
  }
}

export type TxEnd = "committed" | "undone" | "unsure";

/** `publish(…, { tx })`: rows that handlers put into the inbox's transactions, sent if, and only if, these commit. */
export class Transacted {
  readonly #o: TransactedOptions;
  readonly #open: Map<unknown, TxPublishes> = new Map();
  readonly #over: WeakSet<object> = new WeakSet();

  constructor(options: TransactedOptions) {
    this.#o = options;
  }

  /** A handler's transaction begins; it ends with `ended`. */
  begin(tx: unknown): TxPublishes {
    const publishes = new TxPublishes(tx, (puts, is) => {
      this.#open.delete(tx);
      if (typeof tx === "object" && tx !== null) this.#over.add(tx);
      this.#end(puts, is);
    });
    this.#open.set(tx, publishes);
    return publishes;
  }

  /**
   * Resolves when the row is in the transaction.
   * @throws TallyError at once, before anything is stored
   */
  publish(topic: Topic<never, unknown>, line: TopicLine, taken: Taken, options: PublishOptions): Promise<Receipt> {
    const { tx, signal } = options;
    const { message } = taken;
    const { id } = message;
    const publishes = this.#open.get(tx);
    if (publishes === undefined || publishes.over) throw this.#noTransaction(tx, id);
    if (topic.outbox === "off")
      throw new TallyError(
        "bad-config",
        `topic ${topic.name} has outbox: "off": it cannot be published to in a transaction, which stores first`,
        { id },
      );
    const slot = message.ordered ? this.#o.slot(message.topic, message.key) : null;
    // What was published before, outside, may still fail and be sent again, or lies in another store, whose relay may be slower.
    if (slot !== null && (line.hasKey(message.key) || !this.#o.mayTransact(slot)))
      throw new TallyError(
        "later",
        `earlier messages of the key of ${id} on ${topic.name} are on their way outside of the transaction, and it would overtake them`,
        { id, retryable: true },
      );
    message.seq = ++line.seq;
    const put: Put = { topic: message.topic, id, dedupeForMs: topic.dedupeFor };
    this.#o.outbox.reserve(put, slot);
    publishes.open++;
    const done = this.#put(publishes, put, slot, taken, signal ?? null);
    // Whoever does not look at it has a transaction that fails.
    done.catch((error: TallyError) => {
      publishes.failed ??= error;
    });
    return done;
  }

  /** A publish with `tx` was refused before it became a message. */
  refused(tx: unknown, error: TallyError): void {
    const publishes = this.#open.get(tx);
    if (publishes !== undefined) publishes.failed ??= error;
  }

  async #put(
    publishes: TxPublishes,
    put: Put,
    slot: number | null,
    { message, verdict }: Taken,
    signal: AbortSignal | null,
  ): Promise<Receipt> {
    const { runtime, transactions, outbox } = this.#o;
    const { id, topic } = message;
    const given = Promise.withResolvers<void>();
    const before = publishes.given;
    publishes.given = given.promise;
    let stored = false;
    try {
      await before;
      if (verdict !== null) assertValid(message, await verdict);
      if (signal?.aborted === true) throw aborted(signal, id);
      if (publishes.over) throw this.#noTransaction(null, id);
      const destination = runtime.transport.name;
      const row = {
        destination,
        slot,
        message: { ...message },
        doubtful: false,
        lane: null,
        dedupeForMs: put.dedupeForMs,
      };
      const putting = transactions.put(publishes.tx, [row]).catch((thrown: unknown) => {
        throw storeError("the transaction could not be written", thrown);
      });
      given.resolve();
      const [result = new TallyError("store", "the inbox gave no answer for a row", { id })] = await putting;
      if (result !== "stored" && result !== "same") throw unstored(id, topic, result);
      if (publishes.over) throw this.#noTransaction(null, id);
      failpoint("tx.put");
      stored = result === "stored";
      if (stored) publishes.puts.push(put);
      return { id, state: "stored", proof: STORED };
    } catch (thrown) {
      const error = rejection(asError(thrown, id), id, false);
      runtime.events.emit({ type: "rejected", topic, id, code: error.code, mayArrive: false });
      throw error;
    } finally {
      given.resolve();
      publishes.open--;
      // A row that was there already has its place in the fence.
      if (!stored) outbox.settle(put, "gone");
    }
  }

  #end(puts: readonly Put[], is: TxEnd): void {
    if (is === "committed" && puts.length > 0) failpoint("tx.committed");
    for (const put of puts) {
      const { topic, id } = put;
      this.#o.outbox.settle(put, is === "committed" ? "stored" : is === "undone" ? "gone" : "unsure");
      if (is !== "unsure")
        this.#o.runtime.events.emit({ type: is === "committed" ? "tx-published" : "tx-undone", topic, id });
    }
  }

  #noTransaction(tx: unknown, id: string): TallyError {
    const was = tx === null || (typeof tx === "object" && (this.#over.has(tx) || this.#open.has(tx)));
    return was
      ? new TallyError("store", `the transaction is over: ${id} was not published`, { id })
      : new TallyError("bad-config", `publish: tx must be that of a handler of this tally with effect: "tx"`, { id });
  }
}
