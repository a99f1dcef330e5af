/** What a client says of itself when it connects: the proxy keeps it for as long as it hears of the client. */
export type ClientPlan =
  | { readonly kind: "producer"; readonly topics: readonly string[] }
  | { readonly kind: "consumer"; readonly group: string; readonly topics: readonly string[]; readonly waitMs: number };

/** The status of an answer. @see the protocol's `Code`: 20000 is OK */
export interface Status {
  readonly code: number;
  readonly text: string;
}

/** The proxy has answered, and what it said is not OK. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly status: Status;

  constructor(status: Status) {
    super(`${status.text} (${status.code})`);
    this.status = status;
  }
}

export interface OutMessage {
  readonly topic: string;
  /** The protocol's own, 34 hexadecimal digits; told apart from ours, which is a property. */
  readonly messageId: string;
  readonly keys: readonly string[];
  readonly properties: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
  /** FIFO within it; null: a message of the normal kind. */
  readonly messageGroup: string | null;
  /** Wall-clock milliseconds; null: now. */
  readonly deliverAt: number | null;
  /** Wall-clock milliseconds. A half message that was born in 1970 is dropped at the broker's first look. */
  readonly bornAt: number;
  /** A half message: handed out when it is committed. */
  readonly half: boolean;
}

export interface Sent {
  readonly status: Status;
  /** `transactionId`: of a half message, else empty. */
  readonly entries: readonly { readonly status: Status; readonly messageId: string; readonly transactionId: string }[];
}

/** How a half message is called when it is decided. */
export interface HalfAt {
  readonly topic: string;
  readonly messageId: string;
  readonly transactionId: string;
}

export interface InMessage {
  readonly topic: string;
  readonly messageId: string;
  readonly handle: string;
  readonly properties: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
  readonly gzip: boolean;
  readonly messageGroup: string | null;
  readonly queueId: number;
  readonly offset: number;
  /** As the broker counts; 1 for the first. */
  readonly attempt: number;
  /** Its checksum is that of another body. */
  readonly corrupted: boolean;
}

export interface Received {
  readonly status: Status;
  readonly messages: readonly InMessage[];
}

export interface Acked {
  readonly status: Status;
  /** By receipt handle. */
  readonly entries: ReadonlyMap<string, Status>;
}

/** One connection to one proxy, with what follows from it. Calls reject with the driver's own errors; none is repeated. */
export interface Link {
  /** `host:port` of the proxy. */
  readonly endpoint: string;
  send(messages: readonly OutMessage[]): Promise<Sent>;
  /** Waits up to `waitMs` for a first message. Rejects when the signal fires; what the broker sent then comes again. */
  receive(
    ask: {
      readonly group: string;
      readonly topic: string;
      readonly most: number;
      readonly invisibleMs: number;
      readonly waitMs: number;
    },
    signal: AbortSignal,
  ): Promise<Received>;
  ack(
    group: string,
    topic: string,
    entries: readonly { readonly messageId: string; readonly handle: string }[],
  ): Promise<Acked>;
  /** The new handle is the only one that counts from then on. */
  invisible(
    group: string,
    topic: string,
    entry: { readonly messageId: string; readonly handle: string },
    ms: number,
  ): Promise<{ readonly status: Status; readonly handle: string }>;
  /** @param asked In answer to the broker's question. That it is OK is no proof: the proxy does not wait for the broker. */
  decide(half: HalfAt, decision: "commit" | "rollback", asked: boolean): Promise<Status>;
  /** A producer says anew which topics are its own: it is asked about half messages of these from then on. */
  announce(topics: readonly string[]): void;
  /** Whether the topic has a route. */
  route(topic: string): Promise<Status>;
  /** Says goodbye, for at most a second, and leaves nothing behind that keeps a process alive. */
  close(): Promise<void>;
}

export interface LinkEvents {
  /** The connection, or the proxy, is gone. Once; never after `close`. */
  lost(thrown: unknown): void;
  /** The broker wants to know what became of a half message. */
  asked(half: HalfAt, message: InMessage): void;
}

export interface Driver {
  /** Resolves when the proxy has taken what the client says of itself. One try, of one endpoint. */
  open(plan: ClientPlan, events: LinkEvents, signal: AbortSignal): Promise<Link>;
}

export const OK = 20_000;
