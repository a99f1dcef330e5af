/** Where a client's process publishes to. The topic is there already, made alike for every client. */
export interface KafkaPlace {
  readonly brokers: readonly string[];
  readonly topic: string;
  /** A file of its own, for a client that keeps messages on disk while the brokers are away. */
  readonly outbox: string;
  /** Messages that one call of the client's takes at most, of those that are published in one turn of the loop. */
  readonly call: number;
}

export interface KafkaRecord {
  readonly id: string;
  readonly key: string | null;
  readonly value: Buffer;
}

export interface KafkaPublisher extends AsyncDisposable {
  /** Resolves when the client says that the message is published; rejects with whatever the client rejects with. */
  publish(record: KafkaRecord): Promise<unknown>;
}

/** A client as it is put to use after its README was read. Connects, and again when it has to, by its own means. */
export type OpenKafka = (place: KafkaPlace) => Promise<KafkaPublisher>;
