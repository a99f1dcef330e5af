import type { CasePlan } from "../play.ts";
import type { KafkaClient, KafkaTask } from "./task.ts";

export type KafkaShape = Omit<KafkaTask, "brokers" | "topic">;

/** How it is published, and how many messages are enough to measure each client: their rates differ by two orders. */
interface Way {
  readonly name: string;
  readonly call: number | null;
  readonly window: number;
  readonly messages: Readonly<Partial<Record<KafkaClient, number>>>;
}

const WAYS: readonly Way[] = [
  {
    name: "awaited",
    call: null,
    window: 1,
    messages: { kafkajs: 1_500, "kafkajs-defaults": 1_500, platformatic: 1_500, confluent: 1_500, tally: 1_500 },
  },
  {
    name: "window",
    call: null,
    window: 1_000,
    messages: { kafkajs: 3_000, "kafkajs-defaults": 5_000, platformatic: 5_000, confluent: 60_000, tally: 80_000 },
  },
  {
    name: "calls-100",
    call: 100,
    window: 1,
    messages: { kafkajs: 40_000, platformatic: 40_000, confluent: 40_000 },
  },
  {
    name: "calls-1000",
    call: 1_000,
    window: 1,
    messages: { kafkajs: 80_000, platformatic: 80_000, confluent: 60_000 },
  },
];

/** Of larger bodies fewer say as much, where there are many. */
const SIZES = [
  { bytes: 256, share: 1 },
  { bytes: 4_096, share: 0.25 },
] as const;

/** @param clients those that can run here */
export function casesOf(clients: readonly KafkaClient[]): readonly CasePlan<KafkaShape>[] {
  const publishing = SIZES.flatMap(({ bytes, share }) =>
    WAYS.map(({ name, call, window, messages }): CasePlan<KafkaShape> => {
      const of = `${bytes}-${name}`;
      return {
        name: of,
        raw: "kafkajs",
        tasks: clients.flatMap((client) => {
          const many = messages[client];
          if (many === undefined) return [];
          const enough = many > 10_000 ? many * share : many;
          return [{ case: of, client, bytes, verb: "publish", call, window, handler: 0, ...sized(enough) }];
        }),
      };
    }),
  );
  const consuming = [
    { case: "consume-10ms", handler: 10, messages: { kafkajs: 400, tally: 12_000 } },
    { case: "consume-256", handler: 0, messages: { kafkajs: 200_000, tally: 200_000 } },
  ].map(({ case: name, handler, messages }): CasePlan<KafkaShape> => ({
    name,
    raw: "kafkajs",
    tasks: (["kafkajs", "tally"] as const)
      .filter((client) => clients.includes(client))
      .map((client) => ({
        case: name,
        client,
        bytes: 256,
        verb: "consume",
        call: null,
        window: 1_000,
        handler,
        ...sized(messages[client]),
      })),
  }));
  return [...publishing, ...consuming];
}

function sized(messages: number): Pick<KafkaTask, "warmup" | "messages"> {
  return { warmup: messages / 4, messages };
}
