// One broker, and a virtual host of its own: what Tally uses is deleted or cancelled under it, while it runs.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openTally, type Tally, TallyError, type TallyEvent, topic } from "@tallymq/core";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { sharedRabbit, type SharedRabbit } from "../brokers/vitest/shared.ts";
import { outsider } from "./stage.ts";

let rabbit: SharedRabbit;
let other: Awaited<ReturnType<typeof outsider>>;
let names = 0;

beforeAll(async () => {
  rabbit = await sharedRabbit();
  other = await outsider(rabbit.url);
});
afterAll(async () => {
  await other[Symbol.asyncDispose]();
  await rabbit.stop();
});

/** A tally, what happened in it, and what its consumer got. */
class Watched implements AsyncDisposable {
  readonly events: TallyEvent[] = [];
  readonly got: string[] = [];
  readonly orders = topic<string>(`live-${++names}`, { groups: ["billing"] });
  tally!: Tally<never>;
  readonly #waiting = new Set<() => void>();

  static async open(options: Partial<RabbitOptions> = {}, of: Watched | null = null): Promise<Watched> {
    const watched = new Watched();
    if (of !== null) (watched as { orders: unknown }).orders = of.orders;
    watched.tally = await openTally({
      service: "shop",
      broker: rabbitmq({ urls: [rabbit.url], ...options }),
      reconnect: { min: "10ms", max: "50ms" },
      onEvent: (event) => {
        watched.events.push(event);
        watched.#changed();
      },
    });
    return watched;
  }

  get queue(): string {
    return `${this.orders.name}.billing`;
  }

  async consume(): Promise<void> {
    await this.tally
      .consumer("billing")
      .on(this.orders, (body) => {
        this.got.push(body);
        this.#changed();
      })
      .start();
  }

  count(type: TallyEvent["type"], which: (event: never) => boolean = () => true): number {
    return this.events.filter((event) => event.type === type && which(event as never)).length;
  }

  until(what: string, holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what} did not come: ${this.got.join()}`)), 30_000);
      const check = (): void => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  #changed(): void {
    for (const check of this.#waiting) check();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tally.close();
  }
}

async function reachable({ tally }: Watched): Promise<unknown> {
  return (await tally.health()).checks.find(({ name }) => name === "unreachable")!.status;
}

const receiving = (event: { role: string }): boolean => event.role === "receive";

describe("the queue of a consumer that runs is deleted", () => {
  it.each(["quorum", "classic"] as const)("%s: it is declared again and consuming goes on", async (queueType) => {
    await using one = await Watched.open({ queueType });
    await one.consume();
    await one.tally.publish(one.orders, "before");
    await one.until("the first message", () => one.got.length === 1);
    await other.channel.deleteQueue(one.queue);
    await one.until("another session", () => one.count("session-opened", receiving) === 2);
    const lost = one.events.find((event) => event.type === "session-lost");
    expect(lost).toMatchObject({ role: "receive", error: { code: "session-lost", retryable: true } });
    await one.tally.publish(one.orders, "after");
    await one.until("the second message", () => one.got.length === 2);
    expect(one.got).toEqual(["before", "after"]);
    expect(await reachable(one)).toBe("ok");
  });

  it("passive: typed events say so, health() at once, and it goes on as soon as the queue is there again", async () => {
    await using maker = await Watched.open();
    await maker.tally.publish(maker.orders, "one");
    await using one = await Watched.open({ declare: "passive" }, maker);
    await one.consume();
    await one.until("the first message", () => one.got.length === 1);
    await other.channel.deleteQueue(one.queue);
    const refused = (): number =>
      one.count("reconnect", (e: { error: TallyError }) => e.error.code === "topology" && !e.error.retryable);
    await one.until("tries that find it missing", () => refused() >= 2);
    const health = await one.tally.health();
    expect(health.status).toBe("degraded");
    const [finding] = health.checks.find(({ name }) => name === "unreachable")!.findings;
    expect(finding!.text).toContain(`queue "${one.queue}" is not there; expected a durable queue`);
    // Another program makes it, as it would by its own publish.
    await using again = await Watched.open({}, maker);
    await again.tally.publish(maker.orders, "two");
    await one.until("the second message", () => one.got.length === 2);
    expect(await reachable(one)).toBe("ok");
  });
});

describe("a consumer is cancelled by the broker", () => {
  it("an operator deletes its queue with rabbitmqctl: cancelled, declared again, and consuming goes on", async () => {
    await using one = await Watched.open();
    await one.consume();
    await one.tally.publish(one.orders, "before");
    await one.until("the first message", () => one.got.length === 1);
    await rabbit.admin.ctl("delete_queue", "--vhost", rabbit.vhost, one.queue);
    await one.until("another session", () => one.count("session-opened", receiving) === 2);
    await one.tally.publish(one.orders, "after");
    await one.until("the second message", () => one.got.length === 2);
  });
});

describe("the exchange of a publisher that runs is deleted", () => {
  it("the next publishes are in doubt, it is declared and bound again, and they are sent again: none lost", async () => {
    await using one = await Watched.open();
    await one.consume();
    await one.tally.publish(one.orders, "0");
    for (let round = 1; round <= 3; round++) {
      await other.channel.deleteExchange(one.orders.name);
      const bodies = Array.from({ length: 20 }, (_, i) => `${round}-${i}`);
      const receipts = await one.tally.publishMany(
        one.orders,
        bodies.map((body) => ({ body, id: body })),
      );
      expect(receipts.filter((one) => TallyError.is(one))).toEqual([]);
    }
    await one.until("all of them", () => new Set(one.got).size === 61);
    expect(one.count("session-lost", (e: { role: string }) => e.role === "send")).toBe(3);
    expect(one.count("resend")).toBeGreaterThanOrEqual(3);
  });

  it("passive: its messages are rejected by name, as in doubt, until it is there again", async () => {
    await using maker = await Watched.open();
    await maker.tally.publish(maker.orders, "one");
    await using one = await Watched.open({ declare: "passive" }, maker);
    await one.tally.publish(one.orders, "two");
    await other.channel.deleteExchange(one.orders.name);
    const error = await one.tally.publish(one.orders, "three").catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "topology", mayArrive: true });
    expect((error as TallyError).message).toContain(`exchange "${one.orders.name}" is not there; expected a durable`);
    await using again = await Watched.open({}, maker);
    await again.tally.publish(maker.orders, "four");
    expect(await one.tally.publish(one.orders, "five")).toMatchObject({ state: "confirmed" });
  });
});
