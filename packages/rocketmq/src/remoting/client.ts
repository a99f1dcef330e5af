import type { Clock, HostPort } from "@tallymq/core/spi";
import type { ResolvedCredentials } from "../options.ts";
import { type Answer, AnswerReader, request } from "./frames.ts";
import { signed } from "./signature.ts";
import type { Dial, Wire } from "./socket.ts";

/** A server has answered, and not with success. `remoting` is the code of its answer. */
export class RemotingError extends Error {
  override readonly name = "RemotingError";
  readonly remoting: number;

  constructor(what: string, { code, remark }: Pick<Answer, "code" | "remark">) {
    // Servers put a stack trace behind the first line.
    super(`${what}: ${remark.split("\n")[0]!.slice(0, 300) || "no reason given"} (${code})`);
    this.remoting = code;
  }
}

export interface RemotingOptions {
  readonly dial: Dial;
  readonly clock: Clock;
  readonly credentials: ResolvedCredentials | null;
  /** Milliseconds for a connection, and for an answer. */
  readonly within: number;
}

interface Waiting {
  resolve(answer: Answer): void;
  reject(thrown: unknown): void;
}

/** One connection to a name server or a broker. It ends with the first thing that is wrong with it; nothing is repeated. */
export class RemotingClient {
  readonly #o: RemotingOptions;
  readonly #at: HostPort;
  readonly #waiting: Map<number, Waiting> = new Map();
  readonly #reader: AnswerReader = new AnswerReader();
  readonly #enough: AbortController = new AbortController();
  #wire: Promise<Wire> | null = null;
  #opaque = 0;
  #over: Error | null = null;

  constructor(at: HostPort, options: RemotingOptions) {
    this.#at = at;
    this.#o = options;
  }

  get over(): boolean {
    return this.#over !== null;
  }

  /** The answer, whatever its code. */
  async ask(
    code: number,
    fields: Readonly<Record<string, string>>,
    body: Uint8Array = new Uint8Array(0),
  ): Promise<Answer> {
    const opaque = ++this.#opaque;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    promise.catch(() => {});
    const timer = this.#o.clock.after(this.#o.within, () =>
      this.#end(new Error(`no answer of ${this.#at.name} within ${this.#o.within} ms`)),
    );
    this.#waiting.set(opaque, { resolve, reject });
    try {
      const all = await signed(fields, body, this.#o.credentials);
      const wire = await Promise.race([this.#connected(), promise.then((): never => raise(this.#at.name))]);
      if (this.#over !== null) throw this.#over;
      wire.write(request(code, opaque, all, body));
      return await promise;
    } finally {
      timer.cancel();
      this.#waiting.delete(opaque);
    }
  }

  /** @throws RemotingError when the answer is no success */
  async must(
    what: string,
    code: number,
    fields: Readonly<Record<string, string>>,
    body: Uint8Array = new Uint8Array(0),
  ): Promise<Answer> {
    const answer = await this.ask(code, fields, body);
    if (answer.code !== 0) throw new RemotingError(what, answer);
    return answer;
  }

  close(): void {
    this.#end(new Error("the connection was closed"));
  }

  #connected(): Promise<Wire> {
    if (this.#over !== null) return Promise.reject(this.#over);
    if (this.#wire !== null) return this.#wire;
    const { host, port } = this.#at;
    const events = { bytes: (chunk: Uint8Array) => this.#read(chunk), ended: (thrown: Error) => this.#end(thrown) };
    this.#wire = this.#o.dial(host, port, events, this.#enough.signal);
    this.#wire.then(
      (wire) => {
        if (this.#over !== null) wire.close();
      },
      (thrown: unknown) => this.#end(thrown as Error),
    );
    return this.#wire;
  }

  #read(chunk: Uint8Array): void {
    try {
      for (const answer of this.#reader.take(chunk)) this.#waiting.get(answer.opaque)?.resolve(answer);
    } catch (thrown) {
      this.#end(thrown as Error);
    }
  }

  #end(thrown: Error): void {
    if (this.#over !== null) return;
    this.#over = thrown;
    for (const { reject } of this.#waiting.values()) reject(thrown);
    this.#waiting.clear();
    this.#enough.abort(thrown);
    void this.#wire?.then((wire) => wire.close()).catch(() => {});
  }
}

function raise(name: string): never {
  throw new Error(`${name} has answered what it was not asked yet`);
}
