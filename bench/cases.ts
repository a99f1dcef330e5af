/** What one client does in one round: numbers that the parent and the client's process agree on. */
export interface Task {
  /** As in the figures: `quorum-256-window`. */
  readonly case: string;
  readonly client: ClientName;
  /** Null: an instant transport instead of a broker. */
  readonly broker: { readonly url: string; readonly queue: string; readonly queueType: "quorum" | "classic" } | null;
  readonly bytes: number;
  readonly body: "bytes" | "json";
  readonly id: "given" | "generated";
  /** `consume`: what the queue holds is handled by a handler that does nothing, and acked. */
  readonly verb: "publish" | "consume";
  /** Messages without a confirm, at most; 1 awaits each. Of a consumer: deliveries without an ack. */
  readonly window: number;
  /** Messages of one transaction, in place of confirms. @default confirms */
  readonly tx?: number;
  /** Messages that are not measured: the engine compiles first. */
  readonly warmup: number;
  readonly messages: number;
}

export type ClientName = "amqplib" | "tally" | PeerName;
/** Clients that compare/clients knows how to put to use. */
export type PeerName = "amqp-connection-manager" | "rabbitmq-client" | "cloudamqp-amqp-client" | "rascal";

/** One client's figures of one round. */
export interface Measure {
  /** Messages a second. */
  readonly rate: number;
  /** User and system CPU of the client's process, microseconds a message. */
  readonly cpuMicros: number;
  /** Confirmed (consumed), as the client saw it; all must be. */
  readonly confirmed: number;
}

/** One line of the table and of `--json`: medians of the rounds. */
export interface Row extends Omit<Measure, "confirmed"> {
  readonly case: string;
  readonly client: string;
  /** Median over the rounds of rate ÷ the raw client's rate in the same round; null where there is no raw client. */
  readonly ratio: number | null;
}

const PLAIN = { body: "bytes", id: "given", verb: "publish" } as const;
type Shape = Omit<Task, "client" | "broker"> & { readonly queueType: "quorum" | "classic" };

/** The policy layer alone, beside the raw client's own publishing on a real broker. */
export const CORE: { readonly raw: Shape; readonly layer: readonly Omit<Task, "client" | "broker">[] } = {
  raw: {
    case: "raw-256-window",
    queueType: "classic",
    bytes: 256,
    window: 1_000,
    warmup: 20_000,
    messages: 100_000,
    ...PLAIN,
  },
  layer: [
    { case: "core-256-bytes", bytes: 256, window: 1_000, warmup: 100_000, messages: 1_000_000, ...PLAIN },
    { ...PLAIN, case: "core-256-json", bytes: 256, window: 1_000, warmup: 100_000, messages: 300_000, body: "json" },
    {
      ...PLAIN,
      case: "core-256-uuidv7",
      bytes: 256,
      window: 1_000,
      warmup: 100_000,
      messages: 300_000,
      id: "generated",
    },
  ],
};
