import type { ClientName, PeerName, Task } from "../cases.ts";
import type { CasePlan } from "../play.ts";
import type { QueueTask } from "./queues.ts";

type QueueType = "quorum" | "classic";

/** How it is published: how many without a confirm, or in a transaction; and how many are enough to measure. */
interface Way {
  readonly name: string;
  readonly window: number;
  readonly tx: number | null;
  /** Messages that are measured, by their size; a quarter as many come before. */
  readonly messages: Readonly<Record<number, number>>;
}

const WAYS: readonly Way[] = [
  { name: "window", window: 1_000, tx: null, messages: { 256: 40_000, 4096: 20_000 } },
  { name: "awaited", window: 1, tx: null, messages: { 256: 1_600, 4096: 1_600 } },
  { name: "tx", window: 1, tx: 1, messages: { 256: 1_200, 4096: 1_200 } },
  { name: "tx-100", window: 100, tx: 100, messages: { 256: 20_000, 4096: 10_000 } },
  { name: "tx-1000", window: 1_000, tx: 1_000, messages: { 256: 40_000, 4096: 10_000 } },
];

const PEERS: readonly PeerName[] = ["amqp-connection-manager", "rabbitmq-client", "cloudamqp-amqp-client", "rascal"];

/** Much slower with a window than the others: fewer messages say as much of it. */
const SLOW: Readonly<Partial<Record<ClientName, number>>> = { rascal: 8 };

const PLAIN = { body: "bytes", id: "given" } as const;
const SIZES = [256, 4_096] as const;
const TYPES: readonly QueueType[] = ["quorum", "classic"];

/** Publishing: the same settings for each client, one queue, persistent. Peers have no transactions. */
const PUBLISHING: readonly CasePlan<QueueTask>[] = TYPES.flatMap((queueType) =>
  SIZES.flatMap((bytes) =>
    WAYS.map(({ name, window, tx, messages }): CasePlan<QueueTask> => {
      const clients: readonly ClientName[] = ["amqplib", "tally", ...(tx === null ? PEERS : [])];
      const many = messages[bytes] ?? 1_000;
      return {
        name: `${queueType}-${bytes}-${name}`,
        raw: "amqplib",
        tasks: clients.map((client) => ({
          ...PLAIN,
          case: `${queueType}-${bytes}-${name}`,
          verb: "publish",
          client,
          queueType,
          bytes,
          window,
          ...(tx === null ? {} : { tx }),
          ...sized(window === 1 ? many : many / (SLOW[client] ?? 1)),
        })),
      };
    }),
  ),
);

/** Consuming with manual acks, 1,000 deliveries unacked at most: amqplib acks one by one, Tally merges. */
const CONSUMING: readonly CasePlan<QueueTask>[] = TYPES.map((queueType) => ({
  name: `consume-${queueType}-256`,
  raw: "amqplib",
  tasks: (["amqplib", "tally"] as const).map((client) => ({
    ...PLAIN,
    case: `consume-${queueType}-256`,
    verb: "consume",
    client,
    queueType,
    bytes: 256,
    window: 1_000,
    ...sized(60_000),
  })),
}));

export const RABBITMQ: readonly CasePlan<QueueTask>[] = [...PUBLISHING, ...CONSUMING];

function sized(messages: number): Pick<Task, "warmup" | "messages"> {
  return { warmup: Math.ceil(messages / 4), messages };
}
