import { type Host, type Receiver, type ReceiverEvents, sleep, TallyError, type TopicPlan } from "@tallymq/core/spi";
import type { KafkaAdmin } from "../admin.ts";
import type { Driver } from "../driver/driver.ts";
import type { Topology } from "../topology.ts";
import { Forwarder } from "./forwarder.ts";

export interface DelaysOptions {
  readonly host: Host;
  readonly driver: Driver;
  readonly topology: Topology;
  readonly admin: KafkaAdmin;
  readonly batchBytes: number;
  receiver(topic: TopicPlan, events: ReceiverEvents, signal: AbortSignal): Promise<Receiver>;
  surfaced(what: string): void;
}

/** A consumer looks so often whether somebody else delays messages of its topic by now. */
const LOOK_EVERY_MS = 30_000;
/** The end does not wait longer for the broker to let go of what was forwarded. */
const FORGET_WITHIN_MS = 2_000;

/**
 * Who forwards what is delayed, in this process: one {@link Forwarder} for each topic that it delays messages of, or consumes
 * and somebody delays. From the first need of it until the transport ends, so that none waits for a consumer of one group.
 */
export class Delays implements AsyncDisposable {
  readonly #o: DelaysOptions;
  readonly #forwarders: Map<string, Forwarder> = new Map();
  readonly #stop: AbortController = new AbortController();

  constructor(options: DelaysOptions) {
    this.#o = options;
  }

  /** Its topic for delays is there. */
  begin(topic: string): void {
    if (this.#forwarders.has(topic) || this.#stop.signal.aborted) return;
    const { host, driver, topology, admin, batchBytes, receiver, surfaced } = this.#o;
    const plan = { name: topic, ordered: false, groups: [] };
    const forwarder = new Forwarder({
      topic,
      topology,
      clock: host.clock,
      random: host.random,
      batchBytes,
      producer: () => driver.producer(),
      receiver: (events, signal) => receiver(plan, events, signal),
      declare: (group, signal) =>
        group === null ? admin.declare([plan], signal) : admin.declareFor(plan, group, signal),
      forget: () => this.#within((signal) => admin.forgetForwarded(topic, signal)),
      surfaced,
    });
    this.#forwarders.set(topic, forwarder);
  }

  /** Somebody consumes it: what others have delayed must get on, also when they are gone. */
  watch(topic: string, gone: AbortSignal): void {
    void this.#watch(topic, AbortSignal.any([gone, this.#stop.signal]));
  }

  async #watch(topic: string, gone: AbortSignal): Promise<void> {
    while (!gone.aborted && !this.#forwarders.has(topic)) {
      // Whatever failed is asked again, as anything is that somebody may make meanwhile.
      if (await this.#o.admin.hasDelays(topic, gone).catch(() => false)) return this.begin(topic);
      await sleep(this.#o.host.clock, LOOK_EVERY_MS, gone).catch(() => {});
    }
  }

  async #within(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const limit = new AbortController();
    const error = new TallyError("unreachable", `no answer within ${FORGET_WITHIN_MS} ms`, { retryable: true });
    const timer = this.#o.host.clock.after(FORGET_WITHIN_MS, () => limit.abort(error));
    await work(limit.signal).finally(() => timer.cancel());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new TallyError("closed", "the transport is closed"));
    await Promise.allSettled([...this.#forwarders.values()].map((one) => one[Symbol.asyncDispose]()));
  }
}
