import { type Outgoing, type Sender, type SenderEvents, TallyError, type Verdict, raced } from "@tallymq/core/spi";
import type { RabbitChannel } from "./channel.ts";
import { ConfirmRing, type Sent } from "./confirms.ts";
import { exchangeOf, inDoubt, notWritten, returned, routeOf, unsent, unusable } from "./copies.ts";
import { Encoder } from "./encoder.ts";
import { classify } from "./errors.ts";
import { blame } from "./rolled-back.ts";
import type { Topology } from "./topology.ts";

export interface TxOptions {
  /** Of one transaction. */
  readonly messages: number;
  /** Of bodies; a single larger one is a transaction of its own. */
  readonly bytes: number;
  readonly queueType: "quorum" | "classic";
}

/** What a commit on quorum queues does not say: surfaced once, since no verdict can. */
export const QUORUM_GAP: string =
  'mode "tx" with quorum queues: RabbitMQ answers a commit with ok also where a quorum queue rejected a message (full by a max-length, or being deleted; rabbitmq-server#8966): give these queues no length limit, or use confirms';

// So it is accepted, and whether it is kept is not known.
const UNVERIFIED: Verdict = Object.freeze({
  kind: "accepted",
  proof: Object.freeze({ routed: "yes", persisted: "unverified", replicated: "unverified" }),
});

/** Waits for the transaction under way; `at` is the first index that no transaction has had. */
interface Waiting extends Sent {
  at: number;
}

// A commit that failed tells nothing of its messages: some queue has not taken some of them.
const PARTLY: Verdict = Object.freeze({
  kind: "later",
  error: new TallyError(
    "later",
    "the broker did not complete the transaction: a queue is full or not available; some of its messages may be stored",
    { retryable: true, mayArrive: true },
  ),
  afterMs: 0,
});

/**
 * A session for sending: one channel in transactions, one of them at a time.
 *
 * *idle*: nothing is out. What `send` is given is written with its commit behind it, in one piece: nobody ever has to roll
 * back what was written. *committing*: a commit has no answer. The broker closes the whole connection for a publish in
 * between (504), so what comes waits, and is the next transaction. *reopening*: the broker closed the channel for the
 * transaction, which says how it ended; the next one needs another channel, and the session lives on. *over*.
 *
 * How a transaction ends:
 *
 * | the broker says | verdicts |
 * |---|---|
 * | returns, then commit-ok | unroutable; accepted |
 * | closes the channel for `tx.commit` (406): a queue has rejected something | later, with a doubt; of a single message as a nack |
 * | closes the channel for a `basic.publish` | it never came to the commit: rolled back. Whom it names is refused, siblings are unsent |
 * | nothing: the connection or channel is gone | doubt: the commit may have been done, only its answer is lost |
 */
export class TxSender implements Sender {
  readonly #topology: Topology;
  readonly #events: SenderEvents;
  readonly #limits: TxOptions;
  readonly #accepted: Verdict | ((m: Outgoing) => Verdict);
  readonly #unlisten: () => void;
  readonly #abort: AbortController = new AbortController();
  readonly #gone: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Copies of the transaction under way; the tags are our own. */
  readonly #ring: ConfirmRing = new ConfirmRing();
  readonly #waiting: Waiting[] = [];
  #channel!: RabbitChannel;
  #encoder!: Encoder;
  #stage: "idle" | "committing" | "reopening" | "over" = "idle";
  /** Tags given; copies in the transaction under way. */
  #last = 0;
  #open = 0;
  /**
   * Messages of the next transaction, at most. One that was not completed leaves each of its messages in doubt, and each
   * of them twice in the queue if it had been taken: so the next ones are single messages, and grow again with each that
   * is done.
   */
  #most: number;

  /** @param channel In tx mode, nothing published on it yet. */
  constructor(channel: RabbitChannel, topology: Topology, events: SenderEvents, options: TxOptions) {
    this.#topology = topology;
    this.#events = events;
    this.#limits = options;
    this.#accepted = options.queueType === "classic" ? (m) => routeOf(topology, m).accepted : UNVERIFIED;
    this.#most = options.messages;
    this.#use(channel);
    const { connection } = channel;
    this.#unlisten = connection.listen(events);
    if (connection.blocked !== null) events.blocked(connection.blocked);
  }

  /** Resolves when nothing of it is left at the broker. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  lane(): number {
    return 0;
  }

  kept(): null {
    return null;
  }

  send(_lane: number, batch: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void): void {
    const over = this.#stage === "over" || (this.#channel.over && this.#stage !== "reopening");
    const refusal = unusable(this.#channel, over);
    if (refusal !== null) {
      for (let i = 0; i < batch.length; i++) verdict(i, refusal);
      return;
    }
    if (batch.length === 0) return;
    this.#waiting.push({ batch, verdict, at: 0 });
    this.#begin();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stage !== "over") {
      this.#end();
      this.#ring.end(inDoubt("the session was closed before the answer to the commit came"));
      this.#giveBack(unsent("the session was closed before the message's turn came"));
    }
    await this.#channel.close();
    this.#gone.resolve();
  }

  #use(channel: RabbitChannel): void {
    this.#channel = channel;
    this.#encoder = new Encoder(channel.wire, this.#topology);
    channel.raw.on(
      "return",
      (message) => this.#stage === "over" || returned(this.#ring, this.#topology, this.#events, message),
    );
    channel.onEnd = (error) => this.#closed(error);
  }

  /** Writes what waits, as much of it as one transaction takes, and its commit. */
  #begin(): void {
    if (this.#stage !== "idle") return;
    if (this.#channel.connection.blocked !== null) {
      // It said so while these waited for a commit.
      const { blocked } = this.#channel.connection;
      return this.#giveBack(unsent(`the broker accepts no messages now: ${blocked}`));
    }
    const refused: [Waiting, number, TallyError][] = [];
    let bytes = 0;
    this.#open = 0;
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const m = first.batch[first.at]!;
      if (this.#open >= this.#most || (this.#open > 0 && bytes + m.body.length > this.#limits.bytes)) break;
      const index = first.at++;
      if (first.at === first.batch.length) this.#waiting.shift();
      const error = this.#encoder.add(m);
      if (error === null) {
        this.#ring.add(first, index);
        this.#last++;
        this.#open++;
        bytes += m.body.length;
      } else refused.push([first, index, error]);
    }
    this.#encoder.flush();
    if (this.#open > 0) {
      this.#stage = "committing";
      this.#channel.txCommit(() => this.#committed());
    }
    for (const [sent, index, error] of refused) sent.verdict(index, notWritten(error));
  }

  #committed(): void {
    if (this.#stage !== "committing") return;
    this.#most = Math.min(this.#most * 2, this.#limits.messages);
    // Still committing: what the callbacks send waits for all of them, and goes together.
    this.#ring.confirm(this.#last, true, this.#accepted);
    if (this.#stage !== "committing") return;
    this.#stage = "idle";
    this.#begin();
  }

  /** The channel has ended, by no doing of ours. */
  #closed(error: TallyError): void {
    if (this.#stage === "over") return;
    const { closedFor } = this.#channel;
    if (this.#stage === "committing" && closedFor === "tx.commit" && this.#channel.replyCode === 406) {
      const single = this.#open === 1;
      this.#most = 1;
      void this.#reopen();
      this.#ring.confirm(this.#last, true, (m) => (single ? routeOf(this.#topology, m).nacked : PARTLY));
      return;
    }
    if (this.#stage !== "committing" || closedFor !== "basic.publish")
      return this.#lost(error, inDoubt("the session ended before the answer to the commit came", error));
    const rolledBack = unsent(`the broker rolled the transaction back: ${error.message}`);
    const blamed = blame(error.message, this.#channel.replyCode, (m) => exchangeOf(this.#topology, m));
    if (blamed === null) return this.#lost(error, rolledBack);
    void this.#reopen();
    this.#ring.confirm(this.#last, true, (m) => blamed(m) ?? rolledBack);
  }

  async #reopen(): Promise<void> {
    this.#stage = "reopening";
    const { connection } = this.#channel;
    const { signal } = this.#abort;
    try {
      const channel = await connection.channel(signal);
      try {
        await raced(channel.txSelect(), signal);
      } catch (thrown) {
        void channel.close();
        throw thrown;
      }
      // Its end may have come before anybody listened.
      if (channel.over) throw new TallyError("session-lost", "the channel is closed", { retryable: true });
      this.#use(channel);
      this.#stage = "idle";
      this.#begin();
    } catch (thrown) {
      if (!signal.aborted) this.#lost(classify(thrown, connection.where, "open"), unsent("the session is over"));
    }
  }

  /** @param open What it comes to for the copies of the transaction under way. */
  #lost(error: TallyError, open: Verdict): void {
    this.#end();
    this.#events.lost(error);
    this.#ring.end(open);
    this.#giveBack(unsent("the session ended before the message's turn came"));
    void this.#channel.close().then(() => this.#gone.resolve());
  }

  #end(): void {
    this.#stage = "over";
    this.#unlisten();
    this.#channel.onEnd = null;
    this.#abort.abort(new TallyError("closed", "the session is over"));
  }

  /** What was in no transaction. */
  #giveBack(verdict: Verdict): void {
    for (const { batch, verdict: answer, at } of this.#waiting.splice(0))
      for (let i = at; i < batch.length; i++) answer(i, verdict);
  }
}
