import type { Delivery, Receiver } from "@tallymq/core/spi";
import { turns } from "@tallymq/testkit";
import { ORDERS } from "@tallymq/testkit/port";
import type { KafkaOptions } from "../src/options.ts";
import { FakeDriver, type FakeMember, SIGNAL } from "./fake-driver.ts";

/** A receiver on a fake client, in virtual time. */
export class Stage {
  readonly driver: FakeDriver = new FakeDriver();
  readonly got: Delivery[] = [];
  /** `revoked epoch: lanes`, `unsettled ids`, `gap lane from-to`, `lost code`. */
  readonly said: string[] = [];
  receiver!: Receiver;

  async open(given: { readonly credit?: number; readonly options?: Partial<KafkaOptions> } = {}): Promise<this> {
    const transport = this.driver.transport(given.options);
    await transport.admin.declare([ORDERS], SIGNAL);
    this.receiver = await transport.openReceiver(
      { topic: ORDERS, group: "billing", credit: given.credit ?? 100, consumer: "c" },
      {
        deliver: (batch) => void this.got.push(...batch),
        revoking: () => Promise.resolve(),
        revoked: (_epoch, lanes) => void this.said.push(`revoked ${lanes.length} lanes`),
        unsettled: (batch) => void this.said.push(`unsettled ${batch.map((d) => d.token as number).join()}`),
        gap: (_lane, from, to) => void this.said.push(`gap ${from}-${to}`),
        lost: (error) => void this.said.push(`lost ${error.code}`),
        surfaced: (what) => void this.said.push(`surfaced ${what}`),
      },
      SIGNAL,
    );
    return this;
  }

  get member(): FakeMember {
    return this.driver.members.at(-1)!;
  }

  get offsets(): readonly number[] {
    return this.got.map(({ token }) => token as number);
  }

  async fetch(partition: number, ...offsets: readonly number[]): Promise<void> {
    this.member.fetch("orders", partition, ...offsets);
    await turns();
  }

  async ack(...offsets: readonly number[]): Promise<void> {
    const deliveries = this.got.filter(({ token }) => offsets.includes(token as number));
    this.receiver.settle(deliveries.map((delivery) => ({ kind: "ack", delivery })));
    await this.driver.clock.advance(10);
  }

  /** The group rebalances: the member has these partitions from here. */
  async rebalance(...partitions: readonly number[]): Promise<void> {
    this.member.events.joined(new Map([["orders", partitions]]));
    await turns();
  }
}
