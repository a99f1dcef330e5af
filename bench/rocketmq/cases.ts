import type { CasePlan } from "../play.ts";
import type { RocketClient, RocketTask } from "./task.ts";

export type RocketShape = Omit<RocketTask, "endpoint" | "topic">;

/** How it is published, and how many messages are enough to measure each client. */
interface Way {
  readonly name: string;
  readonly window: number;
  readonly messages: Readonly<Record<RocketClient, number>>;
}

const RAW = "rocketmq-client-nodejs";
const WAYS: readonly Way[] = [
  { name: "awaited", window: 1, messages: { [RAW]: 600, tally: 600 } },
  { name: "window-100", window: 100, messages: { [RAW]: 3_000, tally: 12_000 } },
  { name: "window", window: 1_000, messages: { [RAW]: 4_000, tally: 24_000 } },
];

/** Of larger bodies fewer say as much, where there are many. */
const SIZES = [
  { bytes: 256, share: 1 },
  { bytes: 4_096, share: 0.25 },
] as const;

/** Each message is a call of its own, of so many callers. */
export const ROCKETMQ: readonly CasePlan<RocketShape>[] = SIZES.flatMap(({ bytes, share }) =>
  WAYS.map(({ name, window, messages }): CasePlan<RocketShape> => {
    const of = `${bytes}-${name}`;
    return {
      name: of,
      raw: RAW,
      tasks: ([RAW, "tally"] as const).map((client) => {
        const many = messages[client] > 10_000 ? messages[client] * share : messages[client];
        return { case: of, client, bytes, window, warmup: many / 4, messages: many };
      }),
    };
  }),
);
