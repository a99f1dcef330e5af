/** Where a client's process publishes to. The queue (RocketMQ: the topic) is there already: durable, alike for every client. */
export interface Place {
  readonly url: string;
  readonly queue: string;
  /** Null: RocketMQ has one kind. */
  readonly queueType: "quorum" | "classic" | null;
  /** A file of its own, for a client that keeps messages on disk while the broker is away. */
  readonly outbox: string;
}

export interface Publisher extends AsyncDisposable {
  /** Resolves when the client says that the message is published; rejects with whatever the client rejects with. */
  publish(id: string, body: Buffer): Promise<unknown>;
}

/** A client as it is put to use after its README was read. Connects, and again when it has to, by its own means. */
export type OpenPublisher = (place: Place) => Promise<Publisher>;
