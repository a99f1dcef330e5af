import { describe, expect, it } from "vitest";
import type { Measure } from "../cases.ts";
import { casesOf } from "../kafka/cases.ts";
import { caller } from "../kafka/clients/calls.ts";
import { goalsOf } from "../kafka/goals.ts";
import { chosen } from "../play.ts";
import type { KafkaClient, KafkaTask } from "../kafka/task.ts";

const ALL: readonly KafkaClient[] = ["kafkajs", "kafkajs-defaults", "platformatic", "confluent", "tally"];

describe("the cases of the Kafka bench", () => {
  it("are two sizes, each way to publish, and consuming", () => {
    const ways = ["awaited", "window", "calls-100", "calls-1000"];
    const names = [256, 4096].flatMap((bytes) => ways.map((way) => `${bytes}-${way}`));
    expect(casesOf(ALL).map(({ name }) => name)).toEqual([...names, "consume-10ms", "consume-256"]);
  });

  it("have every client that can run here, Tally wherever a message is a call", () => {
    for (const { name, raw, tasks } of casesOf(ALL)) {
      expect(raw).toBe("kafkajs");
      const clients = /consume/.test(name)
        ? ["kafkajs", "tally"]
        : /calls/.test(name)
          ? ["kafkajs", "platformatic", "confluent"]
          : ALL;
      expect(
        tasks.map(({ client }) => client),
        name,
      ).toEqual(clients);
    }
    const here = casesOf(["kafkajs", "tally"]).flatMap(({ tasks }) => tasks.map(({ client }) => client));
    expect(new Set(here)).toEqual(new Set(["kafkajs", "tally"]));
  });

  it("measure whole numbers of messages, and whole calls", () => {
    for (const { tasks } of casesOf(ALL))
      for (const { warmup, messages, call } of tasks) {
        expect([warmup, messages].every(Number.isInteger)).toBe(true);
        expect(messages % (call ?? 1)).toBe(0);
      }
  });
});

it("cases are named by parts of their names", () => {
  const names = (only: string | null): readonly string[] =>
    chosen([{ name: "256-window" }, { name: "256-calls-100" }, { name: "4096-window" }], only).map(({ name }) => name);
  expect(names(null)).toHaveLength(3);
  expect(names("window")).toEqual(["256-window", "4096-window"]);
  expect(names("256-window,calls")).toEqual(["256-window", "256-calls-100"]);
  expect(() => names("nothing")).toThrow("no case is called nothing: 256-window, 256-calls-100, 4096-window");
});

describe("a client whose call takes a list", () => {
  const task = { bytes: 3, call: null } as KafkaTask;
  it("sends one message for each of many callers", async () => {
    const calls: number[] = [];
    const one = caller(
      task,
      async (records) => void calls.push(records.length),
      async () => {},
    );
    expect(await one.run(0, 5, 2)).toBe(5);
    expect(calls).toEqual([1, 1, 1, 1, 1]);
  });

  it("or so many for one caller, a call after the other", async () => {
    const keys: string[][] = [];
    const send = async (records: readonly { readonly key: string }[]): Promise<void> =>
      void keys.push(records.map(({ key }) => key));
    expect(await caller({ ...task, call: 2 }, send, async () => {}).run(10, 5, 1)).toBe(5);
    expect(keys).toEqual([["customer-10", "customer-11"], ["customer-12", "customer-13"], ["customer-14"]]);
  });
});

describe("the goals of the Kafka bench", () => {
  const measured = (name: string, clients: Readonly<Partial<Record<KafkaClient, readonly number[]>>>) =>
    [
      name,
      new Map(
        Object.entries(clients).map(([client, rates]) => [
          client,
          rates.map((rate): Measure => ({ rate, cpuMicros: 1, confirmed: 1 })),
        ]),
      ),
    ] as const;
  const ends = (lines: readonly string[]): readonly string[] => lines.map((line) => line.split(": ").at(-1) ?? "");

  it("are met at their bounds, by the median of the rounds' ratios, and missed below", () => {
    const all = (window: readonly number[], lanes: number): readonly string[] =>
      ends(
        goalsOf(
          new Map([
            measured("256-window", { kafkajs: [10, 10, 10], confluent: [400, 400, 400], tally: window }),
            measured("256-calls-100", { kafkajs: [200, 200, 200] }),
            measured("consume-10ms", { kafkajs: [10], tally: [lanes] }),
          ]),
        ),
      );
    expect(all([100, 400, 500], 200)).toEqual(["40.00× (met)", "2.00× (met)", "1.00× (met)", "20.00× (met)"]);
    expect(all([100, 288, 500], 190)).toEqual([
      "28.80× (missed)",
      "1.44× (missed)",
      "0.72× (missed)",
      "19.00× (missed)",
    ]);
  });

  it("are not spoken of where one side was not measured", () => {
    expect(goalsOf(new Map([measured("256-window", { tally: [1] }), measured("256-calls-100", {})]))).toEqual([]);
  });
});
