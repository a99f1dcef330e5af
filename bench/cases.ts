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
  /** Messages without a confirm, at most; 1 awaits each. */
  readonly window: number;
  /** Messages of one transaction, in place of confirms. @default confirms */
  readonly tx?: number;
  /** Messages that are not measured: the engine compiles first. */
  readonly warmup: number;
  readonly messages: number;
}

export type ClientName = "amqplib" | "tally";

/** One client's figures of one round. */
export interface Measure {
  /** Messages a second. */
  readonly rate: number;
  /** User and system CPU of the client's process, microseconds a message. */
  readonly cpuMicros: number;
  /** Confirmed, as the client saw it; all must be. */
  readonly confirmed: number;
}

/** One line of the table and of `--json`: medians of the rounds. */
export interface Row extends Omit<Measure, "confirmed"> {
  readonly case: string;
  readonly client: string;
  /** Median over the rounds of rate ÷ the raw client's rate in the same round; null where there is no raw client. */
  readonly ratio: number | null;
}

const PLAIN = { body: "bytes", id: "given" } as const;
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
    { case: "core-256-json", bytes: 256, window: 1_000, warmup: 100_000, messages: 300_000, body: "json", id: "given" },
    {
      case: "core-256-uuidv7",
      bytes: 256,
      window: 1_000,
      warmup: 100_000,
      messages: 300_000,
      body: "bytes",
      id: "generated",
    },
  ],
};

/** The same settings for each client: one queue, persistent, confirmed. */
export const RABBITMQ: readonly Shape[] = [
  {
    case: "quorum-256-window",
    queueType: "quorum",
    bytes: 256,
    window: 1_000,
    warmup: 10_000,
    messages: 60_000,
    ...PLAIN,
  },
  { case: "quorum-256-awaited", queueType: "quorum", bytes: 256, window: 1, warmup: 300, messages: 2_000, ...PLAIN },
  {
    case: "quorum-4096-window",
    queueType: "quorum",
    bytes: 4_096,
    window: 1_000,
    warmup: 5_000,
    messages: 25_000,
    ...PLAIN,
  },
  {
    case: "quorum-256-tx",
    queueType: "quorum",
    bytes: 256,
    window: 1,
    tx: 1,
    warmup: 300,
    messages: 2_000,
    ...PLAIN,
  },
  {
    case: "quorum-256-tx-100",
    queueType: "quorum",
    bytes: 256,
    window: 100,
    tx: 100,
    warmup: 5_000,
    messages: 30_000,
    ...PLAIN,
  },
  {
    case: "quorum-256-tx-1000",
    queueType: "quorum",
    bytes: 256,
    window: 1_000,
    tx: 1_000,
    warmup: 5_000,
    messages: 60_000,
    ...PLAIN,
  },
  {
    case: "classic-256-window",
    queueType: "classic",
    bytes: 256,
    window: 1_000,
    warmup: 10_000,
    messages: 50_000,
    ...PLAIN,
  },
];
