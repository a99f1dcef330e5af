/** What a client says of itself when it connects: the proxy keeps it for as long as it hears of the client. */
export type ClientPlan =
  | { readonly kind: "producer"; readonly topics: readonly string[] }
  | { readonly kind: "consumer"; readonly group: string; readonly topics: readonly string[]; readonly waitMs: number };

/** The status of an answer. @see the protocol's `Code`: 20000 is OK */
export interface Status {
  readonly code: number;
  readonly text: string;
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
}

export interface Sent {
  readonly status: Status;
  readonly entries: readonly { readonly status: Status; readonly messageId: string }[];
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
  /** Whether the topic has a route. */
  route(topic: string): Promise<Status>;
  /** Says goodbye, for at most a second, and leaves nothing behind that keeps a process alive. */
  close(): Promise<void>;
}

export interface LinkEvents {
  /** The connection, or the proxy, is gone. Once; never after `close`. */
  lost(thrown: unknown): void;
}

export interface Driver {
  /** Resolves when the proxy has taken what the client says of itself. One try, of one endpoint. */
  open(plan: ClientPlan, events: LinkEvents, signal: AbortSignal): Promise<Link>;
}

export const OK = 20_000;
