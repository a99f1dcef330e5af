import type { Delivery, Receiver, TopicPlan } from "@tallymq/core/spi";
import { turns } from "@tallymq/testkit";
import { ORDERS } from "@tallymq/testkit/port";
import type { RocketTransport } from "../src/transport.ts";
import { FakeDriver, type FakeLink, SIGNAL } from "./fake-driver.ts";

/** A receiver on a fake driver, in virtual time. */
export class Stage {
  readonly driver: FakeDriver;
  readonly transport: RocketTransport;
  readonly got: Delivery[] = [];
  /** `unsettled ids`, `lost code`, `surfaced …`. */
  readonly said: string[] = [];
  receiver!: Receiver;

  constructor(driver: FakeDriver = new FakeDriver(), transport: RocketTransport = driver.transport()) {
    this.driver = driver;
    this.transport = transport;
  }

  async open(credit = 100, topic: TopicPlan = ORDERS, group = "billing"): Promise<this> {
    this.receiver = await this.transport.openReceiver(
      { topic, group, credit, consumer: "c" },
      {
        deliver: (batch) => void this.got.push(...batch),
        revoking: () => Promise.resolve(),
        revoked: () => {},
        unsettled: (batch, error) => void this.said.push(`unsettled ${batch.map(idOf).join()}: ${error.code}`),
        gap: () => {},
        lost: (error) => void this.said.push(`lost ${error.code}`),
        surfaced: (what) => void this.said.push(`surfaced ${what}`),
      },
      SIGNAL,
    );
    await turns();
    return this;
  }

  get link(): FakeLink {
    return this.driver.link;
  }

  get ids(): readonly string[] {
    return this.got.map(idOf);
  }

  async ack(...ids: readonly string[]): Promise<void> {
    this.receiver.settle(this.#of(ids).map((delivery) => ({ kind: "ack", delivery })));
    await turns();
  }

  async release(afterMs: number, ...ids: readonly string[]): Promise<void> {
    this.receiver.settle(this.#of(ids).map((delivery) => ({ kind: "release", delivery, afterMs })));
    await turns();
  }

  #of(ids: readonly string[]): Delivery[] {
    return this.got.filter((delivery) => ids.includes(idOf(delivery)));
  }
}

export function idOf({ message }: Delivery): string {
  return message.id ?? "";
}
