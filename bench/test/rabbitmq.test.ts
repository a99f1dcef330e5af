import { describe, expect, it } from "vitest";
import type { ClientName, Measure } from "../cases.ts";
import { Arrivals } from "../clients/arrivals.ts";
import { RABBITMQ } from "../rabbitmq/cases.ts";
import { goalsOf } from "../rabbitmq/goals.ts";

const clientsOf = (name: string): readonly ClientName[] =>
  RABBITMQ.find((each) => each.name === name)?.tasks.map(({ client }) => client) ?? [];

describe("the cases of the RabbitMQ bench", () => {
  it("are two types of queue, two sizes, and each way to publish, and consuming", () => {
    const ways = ["window", "awaited", "tx", "tx-100", "tx-1000"];
    const names = ["quorum", "classic"].flatMap((type) =>
      [256, 4096].flatMap((bytes) => ways.map((way) => `${type}-${bytes}-${way}`)),
    );
    expect(RABBITMQ.map(({ name }) => name)).toEqual([...names, "consume-quorum-256", "consume-classic-256"]);
  });

  it("have the raw client and Tally each, and every peer where it can", () => {
    const all = ["amqplib", "tally", "amqp-connection-manager", "rabbitmq-client", "cloudamqp-amqp-client", "rascal"];
    for (const { name, raw } of RABBITMQ) {
      expect(raw).toBe("amqplib");
      expect(clientsOf(name), name).toEqual(/tx|consume/.test(name) ? ["amqplib", "tally"] : all);
    }
  });
});

describe("the goals of the RabbitMQ bench", () => {
  const measured = (name: string, tally: Partial<Measure>): readonly string[] => {
    const one = { rate: 1_000, cpuMicros: 10, confirmed: 1 };
    const clients = new Map([
      ["amqplib", [one, one, one]],
      ["tally", [one, { ...one, ...tally }, { ...one, ...tally }]],
    ]);
    return goalsOf(new Map([[name, clients]]));
  };
  const ends = (lines: readonly string[]): readonly string[] => lines.map((line) => line.split(": ").at(-1) ?? "");

  it("are met at their bounds, by the median of the rounds, and missed beyond", () => {
    expect(ends(measured("quorum-256-window", { rate: 970, cpuMicros: 14 }))).toEqual(["0.97× (met)", "1.40× (met)"]);
    expect(ends(measured("quorum-256-window", { rate: 960, cpuMicros: 14.1 }))).toEqual([
      "0.96× (missed)",
      "1.41× (missed)",
    ]);
    expect(ends(measured("quorum-256-awaited", { rate: 950 }))).toEqual(["0.95× (met)"]);
    expect(ends(measured("quorum-256-awaited", { rate: 940 }))).toEqual(["0.94× (missed)"]);
    expect(ends(measured("consume-quorum-256", { rate: 1_500 }))).toEqual(["1.50× (met)"]);
    expect(ends(measured("consume-quorum-256", { rate: 1_490 }))).toEqual(["1.49× (missed)"]);
  });

  it("are not spoken of where their case was not measured", () => {
    expect(measured("classic-256-window", {})).toEqual([]);
  });
});

it("arrivals are counted over both waits, also those that came between them", async () => {
  const arrivals = new Arrivals();
  const first = arrivals.more(2);
  for (let n = 0; n < 3; n++) arrivals.one();
  expect(await first).toBe(2);
  const second = arrivals.more(2);
  let done = false;
  void second.then(() => (done = true));
  await null;
  expect(done).toBe(false);
  arrivals.one();
  expect(await second).toBe(2);
});
