import assert from "node:assert/strict";
import { type Delivery, type Receiver, type ReceiverEvents, type Settlement, TallyError } from "@tallymq/core/spi";
import type { Watch } from "./wait.ts";

/** A receiver under observation. Nothing is settled but by the case, unless `auto`. */
export class TestReceiver {
  readonly deliveries: Delivery[] = [];
  /** By lane, the newest epoch that was taken away. */
  readonly #revoked: Map<number, number> = new Map();
  readonly lost: TallyError[] = [];
  readonly unsettled: Delivery[] = [];
  /** Most deliveries that were out without a settlement at one time. */
  peak = 0;
  disposed = false;
  readonly #auto: boolean;
  readonly #watch: Watch;
  readonly #settled: Set<Delivery> = new Set();
  #receiver: Receiver | null = null;
  /** Until dispose has ended, what was on its way may still come. */
  #gone = false;
  #afterDispose = 0;

  /** @param auto Acks each delivery in the next turn of the event loop. */
  constructor(watch: Watch, auto: boolean) {
    this.#watch = watch;
    this.#auto = auto;
  }

  readonly events: ReceiverEvents = {
    deliver: (batch) => {
      if (this.#gone) this.#afterDispose += batch.length;
      this.deliveries.push(...batch);
      this.peak = Math.max(this.peak, this.deliveries.length - this.#settled.size);
      if (this.#auto) setImmediate(() => this.ack(...batch));
      this.#watch.changed();
    },
    revoking: () => Promise.resolve(),
    revoked: (epoch, lanes) => {
      for (const lane of lanes) this.#revoked.set(lane, Math.max(epoch, this.#revoked.get(lane) ?? epoch));
      this.#watch.changed();
    },
    unsettled: (batch) => {
      this.unsettled.push(...batch);
      this.#watch.changed();
    },
    gap: () => {},
    lost: (error) => {
      this.lost.push(error);
      this.#watch.changed();
    },
    surfaced: () => {},
  };

  use(receiver: Receiver): void {
    this.#receiver = receiver;
  }

  get port(): Receiver {
    assert.ok(this.#receiver !== null, "the receiver is open");
    return this.#receiver;
  }

  /** Deliveries that have not been taken away. */
  get held(): readonly Delivery[] {
    return this.deliveries.filter(({ lane, epoch }) => (this.#revoked.get(lane) ?? -1) < epoch);
  }

  get ids(): readonly string[] {
    return this.deliveries.map((d) => String(d.message.id));
  }

  ack(...deliveries: readonly Delivery[]): void {
    this.settle(deliveries.map((delivery) => ({ kind: "ack", delivery })));
  }

  release(delivery: Delivery, afterMs = 0): void {
    this.settle([{ kind: "release", delivery, afterMs }]);
  }

  settle(batch: readonly Settlement[]): void {
    for (const { delivery } of batch) this.#settled.add(delivery);
    // An auto ack may come due while the receiver is still opening: deliveries may come before its promise settles.
    if (this.#receiver === null) setImmediate(() => this.#receiver?.settle(batch));
    else this.#receiver.settle(batch);
  }

  /** The first `count` deliveries, as soon as there are so many. */
  async first(count: number): Promise<readonly Delivery[]> {
    await this.#watch.until(
      `${count} deliveries`,
      () => this.deliveries.length >= count,
      () => this.deliveries.length,
    );
    return this.deliveries.slice(0, count);
  }

  /** Resolves when each of these ids was delivered, in any order and however often. */
  async has(ids: readonly string[]): Promise<void> {
    // A condition that is asked at every event must not cost a walk over everything each time.
    const missing = new Set(ids);
    let read = 0;
    const holds = (): boolean => {
      for (; read < this.deliveries.length; read++) missing.delete(String(this.deliveries[read]?.message.id));
      return missing.size === 0;
    };
    await this.#watch.until(
      `deliveries of ${ids.length} ids`,
      holds,
      () => `${this.deliveries.length} deliveries, ${missing.size} ids missing`,
    );
  }

  async stop(): Promise<void> {
    await this.#receiver?.stop();
  }

  async dispose(): Promise<void> {
    this.disposed = true;
    await this.#receiver?.[Symbol.asyncDispose]();
    this.#gone = true;
  }

  /** What holds for every receiver at the end of every case, after its disposal. */
  check(): void {
    assert.ok(this.lost.length <= 1, `expected lost at most once for a receiver; got ${this.lost.length}`);
    for (const error of this.lost)
      assert.ok(TallyError.is(error), `expected lost with a TallyError; got ${String(error)}`);
    assert.equal(this.#afterDispose, 0, "expected no delivery from a receiver that was disposed of");
    for (const { message, lane, epoch, count } of this.deliveries) {
      assert.ok(
        Number.isInteger(lane) && Number.isInteger(epoch),
        `expected whole numbers as lane and epoch; got ${lane} and ${epoch}`,
      );
      assert.ok(
        count === null || (Number.isInteger(count) && count >= 1),
        `expected a count of at least 1, or null; got ${count}`,
      );
      assert.ok(message.body instanceof Uint8Array, "expected a body of bytes");
      assert.equal(Object.getPrototypeOf(message.headers), null, "expected headers without a prototype");
    }
  }
}
