import { Worker } from "node:worker_threads";
import { type Clock, describe, type StoreHost, TallyError, textOf } from "@tallymq/core/spi";
import { type Failure, type Now, type OpenArgs, type PutArgs, type Replies, REPLY, WIDTH } from "./worker/protocol.ts";

/** Callers that one turn of the event loop answers, about: what they put next is a batch of its own. */
const MOST_WOKEN = 500;
/** An answer for many. */
type Weighty = { readonly codes?: { readonly length: number } } | null;

const NONE: Replies = [];

type Settled = (value: unknown, error: TallyError | null) => void;

/**
 * The main thread's end of a store: the requests of one tick travel as one message. Keeps the process alive while something
 * is under way, not otherwise.
 */
export class Client {
  readonly host: StoreHost;
  readonly path: string;
  readonly #worker: Worker;
  readonly #pending: Map<number, Settled> = new Map();
  /** Distance from the clock's origin to the one that all processes since this boot share, in ms. */
  readonly #origin: number;
  readonly #exited: PromiseWithResolvers<void> = Promise.withResolvers();
  #requests: unknown[] = [];
  #transfers: ArrayBuffer[] = [];
  #scheduled = false;
  #next = 1;
  #over: TallyError | null = null;
  #lost: Set<(error: TallyError) => void> = new Set();
  /** Answers of a commit that are not handed out yet. */
  #answers: Replies = [];
  /** In this turn of the event loop some were. */
  #handed = false;
  /** Called before a tick's requests leave: those who collect something hand it over. */
  beforeFlush: () => void = () => {};

  private constructor(host: StoreHost, args: Omit<OpenArgs, "now">) {
    this.host = host;
    this.path = args.path;
    this.#origin = originOf(host.clock);
    const entry = new URL(import.meta.url.endsWith(".ts") ? "./worker/entry.ts" : "./worker/entry.js", import.meta.url);
    this.#worker = new Worker(entry, {
      workerData: { ...args, now: this.now() } satisfies OpenArgs,
      name: "tally-store",
    });
    this.#worker.on("message", (replies: Replies) => this.#replies(replies));
    this.#worker.on("error", (cause) =>
      this.#end(new TallyError("store", `the thread of ${args.path} failed`, { cause })),
    );
    this.#worker.on("exit", () => {
      this.#end(new TallyError("store", `the thread of ${args.path} ended`));
      this.#exited.resolve();
    });
  }

  /** @throws TallyError `store` */
  static async open(
    host: StoreHost,
    args: Omit<OpenArgs, "now">,
  ): Promise<{ readonly client: Client; readonly id: string }> {
    const client = new Client(host, args);
    const opened = new Promise<{ id: string }>((resolve, reject) => {
      client.#pending.set(0, (value, error) => (error === null ? resolve(value as { id: string }) : reject(error)));
    });
    try {
      return { client, id: (await opened).id };
    } catch (error) {
      // The thread ends by itself once its files are closed; terminate() would only race with that. Its answer was the last
      // thing under way: without a hold the process could end here, and nobody would see the error.
      client.#worker.ref();
      await client.#exited.promise;
      throw error;
    }
  }

  now(): Now {
    const { clock } = this.host;
    return { wall: clock.wall(), monotonic: clock.now() + this.#origin };
  }

  /** @throws TallyError */
  ask<T>(op: string, args: unknown): Promise<T> {
    return new Promise((resolve, reject) => {
      this.post(op, args, (value, error) => (error === null ? resolve(value as T) : reject(error)));
    });
  }

  /** As {@link ask}, for those who settle more than one promise by it. */
  post(op: string | number, args: unknown, settled: Settled | null, transfer?: ArrayBuffer): void {
    if (this.#over !== null) {
      settled?.(undefined, this.#over);
      return;
    }
    const n = this.#next++;
    if (settled !== null) {
      if (this.#pending.size === 0) this.#worker.ref();
      this.#pending.set(n, settled);
    }
    this.#requests.push(n, op, args);
    if (transfer !== undefined) this.#transfers.push(transfer);
    this.schedule();
  }

  /** After what runs now and all promises that it settles: one message a tick. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => this.flush());
  }

  flush(): void {
    this.#scheduled = false;
    this.beforeFlush();
    this.#scheduled = false;
    if (this.#requests.length === 0) return;
    const [requests, transfers] = [this.#requests, this.#transfers];
    [this.#requests, this.#transfers] = [[], []];
    try {
      this.#send(requests, transfers);
    } catch {
      this.#oneByOne(requests, transfers);
    }
  }

  #send(requests: unknown[], transfers: ArrayBuffer[]): void {
    if (transfers.length > 0) this.#worker.postMessage(requests, transfers);
    else this.#worker.postMessage(requests);
  }

  /** A handler may give its statement what cannot go to another thread: that fails, and not what was asked in the same tick. */
  #oneByOne(requests: readonly unknown[], transfers: readonly ArrayBuffer[]): void {
    for (let at = 0; at < requests.length; at += WIDTH) {
      const request = requests.slice(at, at + WIDTH);
      const bytes = (request[2] as Partial<PutArgs> | null)?.bytes;
      try {
        this.#send(
          request,
          transfers.filter((each) => each === bytes),
        );
      } catch (cause) {
        const settled = this.#pending.get(request[0] as number);
        this.#pending.delete(request[0] as number);
        settled?.(undefined, new TallyError("bad-config", describe(cause), { cause }));
      }
    }
    if (this.#pending.size === 0 && this.#over === null) this.#worker.unref();
  }

  /** Called at most once, when the thread ends without being asked to. @returns what takes it back. */
  onLost(lost: (error: TallyError) => void): () => void {
    this.#lost.add(lost);
    return () => this.#lost.delete(lost);
  }

  async close(): Promise<void> {
    if (this.#over !== null) return;
    this.#worker.ref();
    // What was asked in this tick comes first.
    this.flush();
    const closed = this.ask<null>("close", null);
    this.flush();
    this.#over = new TallyError("closed", `${this.path} is closed`);
    this.#lost = new Set();
    await closed.catch(() => {});
    await this.#exited.promise;
  }

  #replies(replies: Replies): void {
    this.#answers = this.#answers.length === 0 ? replies : [...this.#answers, ...replies];
    // Once a turn: a port hands over message after message for as long as there are any, and timers would wait meanwhile.
    if (!this.#handed) this.#handOut();
  }

  /** A commit may answer thousands, whose next steps all run before anything else does: so many a turn, timers and sockets in between. */
  #handOut(most: number = MOST_WOKEN): void {
    const replies = this.#answers;
    let woken = 0;
    let next = 0;
    for (; next < replies.length && woken < most; next += WIDTH) {
      const n = replies[next] as number;
      const kind = replies[next + 1];
      const what = replies[next + 2];
      if (kind === REPLY.surfaced) {
        this.host.surfaced(what as string);
        continue;
      }
      const settled = this.#pending.get(n);
      this.#pending.delete(n);
      if (kind === REPLY.failure) settled?.(undefined, asError(what as Failure));
      else {
        woken += Array.isArray(what) ? what.length : ((what as Weighty)?.codes?.length ?? 1);
        settled?.(what, null);
      }
    }
    this.#answers = next < replies.length ? replies.slice(next) : NONE;
    if (this.#answers.length === 0 && this.#pending.size === 0 && this.#over === null) this.#worker.unref();
    this.#handed = true;
    setImmediate(() => {
      this.#handed = false;
      if (this.#answers.length > 0) this.#handOut();
    });
  }

  #end(error: TallyError): void {
    this.#over ??= error;
    this.#handOut(Number.POSITIVE_INFINITY);
    const [pending, lost] = [[...this.#pending.values()], this.#lost];
    this.#pending.clear();
    this.#lost = new Set();
    // The thread had these: some may be committed, and only their answers lost.
    const { code, cause } = this.#over;
    const unanswered = new TallyError(code, textOf(this.#over), { cause, mayArrive: true });
    for (const settled of pending) settled(undefined, unanswered);
    for (const each of lost) each(this.#over);
  }
}

/** One distance a clock: two stores of one process agree on what time it is, also in virtual time. */
const origins: WeakMap<Clock, number> = new WeakMap();

function originOf(clock: Clock): number {
  let origin = origins.get(clock);
  if (origin === undefined) {
    origin = Number(process.hrtime.bigint()) / 1e6 - clock.now();
    origins.set(clock, origin);
  }
  return origin;
}

function asError({ code, message, retryable, mayArrive, sqlite }: Failure): TallyError {
  const cause =
    sqlite === null
      ? undefined
      : Object.assign(new Error(sqlite.message), {
          code: "ERR_SQLITE_ERROR",
          errcode: sqlite.errcode,
          errstr: sqlite.errstr,
        });
  return new TallyError(code, message, { retryable, mayArrive, cause });
}
