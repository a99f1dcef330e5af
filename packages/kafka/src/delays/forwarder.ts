// One thing: one step of what is delayed to the next; joining, waiting, sending and settling share the steps and the producer.
import {
  type Backoff,
  type Clock,
  type Delivery,
  describe,
  fullJitter,
  LONGEST_TIMER,
  type Random,
  type Receiver,
  type ReceiverEvents,
  sleep,
} from "@tallymq/core/spi";
import type { DriverProducer, Produced } from "../driver/driver.ts";
import { divides, rejection } from "../errors.ts";
import { vouched } from "../sender.ts";
import type { Topology } from "../topology.ts";
import { GROUP, stepOf } from "./ladder.ts";
import { onItsWay, type Waiting, waitingIn } from "./waiting.ts";

export interface ForwarderOptions {
  /** Tally's name of the topic that is delayed. */
  readonly topic: string;
  readonly topology: Topology;
  readonly clock: Clock;
  readonly random: Random;
  /** Bodies of one request, in bytes. */
  readonly batchBytes: number;
  producer(): Promise<DriverProducer>;
  /** A member of the group of those who forward; its deliveries' `native` is the driver's `ReceivedRecord`. */
  receiver(events: ReceiverEvents, signal: AbortSignal): Promise<Receiver>;
  /** Learns of a topic that messages are due in, and makes it, where it is ours to make. */
  declare(group: string | null, signal: AbortSignal): Promise<void>;
  /** What has been forwarded needs no place any more. */
  forget(): Promise<void>;
  surfaced(what: string): void;
}

/** What goes to one partition in one request. */
interface Request {
  readonly lane: number;
  readonly all: Waiting[];
  bytes: number;
}

/** Between tries to forward, or to join; in milliseconds. */
const AGAIN: Backoff = { min: 200, max: 10_000 };
/** A wait is looked at again after so long: clocks are set. */
const LOOK_AGAIN_MS = 60_000;
/** What comes of one fetch is read before any of it goes on; in milliseconds. */
const GATHER_MS = 5;
/** And what is overdue when a session begins, of all steps, so that what was due first goes first. */
const GATHER_FIRST_MS = 250;
/** What was forwarded is let go of at the broker when it is so many, and at the end. */
const FORGET_EVERY = 1_000;
/** The end waits so long for answers: a producer that is not closed repeats for minutes what a broker does not answer. */
const ANSWER_WITHIN_MS = 2_000;
/** No step is ready. */
const NEVER = Number.POSITIVE_INFINITY;

/**
 * Sends what has waited for long enough on its way: a member of a consumer group of the topic for delays, in each process
 * that delays or consumes messages of the topic. Steps are shared out among them.
 *
 * A message is committed in its step when the broker has it in the next one: whoever is killed in between has it forwarded
 * twice, under one id. As in the sender, a request carries one partition, and a producer of which one was rejected is given
 * up; what it had is sent again.
 */
export class Forwarder implements AsyncDisposable {
  readonly #o: ForwarderOptions;
  /** By lane, in the order of the log. */
  readonly #steps: Map<number, Waiting[]> = new Map();
  readonly #stop: AbortController = new AbortController();
  /** Since what was forwarded was last let go of. */
  #forwarded = 0;
  #gather = GATHER_MS;
  #receiver: Receiver | null = null;
  #producer: DriverProducer | null = null;
  #wake: () => void = () => {};
  #lost = false;
  #said = false;
  #tries = 0;
  readonly #running: Promise<void>;

  constructor(options: ForwarderOptions) {
    this.#o = options;
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#wake();
    // What is on its way may still be answered, and is then committed.
    const late = this.#o.clock.after(ANSWER_WITHIN_MS, () => void this.#producer?.close().catch(() => {}));
    await this.#running;
    late.cancel();
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#o;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#session();
      } catch (thrown) {
        if (!signal.aborted) this.#failed(thrown);
      }
      await this.#end();
      if (!signal.aborted) await sleep(clock, fullJitter(AGAIN, ++this.#tries, random), signal).catch(() => {});
    }
  }

  async #session(): Promise<void> {
    const { clock, random } = this.#o;
    const { signal } = this.#stop;
    this.#lost = false;
    this.#gather = GATHER_FIRST_MS;
    this.#receiver = await this.#o.receiver(this.#events(), signal);
    while (!this.#lost && !signal.aborted) {
      const ready = this.#ready(clock.wall());
      if (ready.length === 0) await this.#wait();
      else {
        try {
          await this.#forward(ready);
          this.#tries = 0;
          this.#said = false;
          await this.#forget(FORGET_EVERY);
        } catch (thrown) {
          this.#failed(thrown);
          await sleep(clock, fullJitter(AGAIN, ++this.#tries, random), signal).catch(() => {});
        }
      }
    }
  }

  async #end(): Promise<void> {
    const [receiver, producer] = [this.#receiver, this.#producer];
    this.#receiver = null;
    this.#producer = null;
    this.#steps.clear();
    await producer?.close().catch(() => {});
    await receiver?.[Symbol.asyncDispose]();
    // Its commits are out.
    if (!this.#lost) await this.#forget(1);
  }

  #events(): ReceiverEvents {
    return {
      deliver: (batch) => {
        for (const delivery of batch) this.#take(delivery);
        this.#wake();
      },
      revoking: () => Promise.resolve(),
      revoked: (_epoch, lanes) => {
        for (const lane of lanes) this.#steps.delete(lane);
      },
      // They come again, and are forwarded again.
      unsettled: () => {},
      gap: (_lane, from, to) =>
        this.#o.surfaced(`delayed messages ${from} to ${to} of ${this.#o.topic} are gone from the broker`),
      lost: (error) => {
        this.#lost = true;
        this.#failed(error);
        this.#wake();
      },
      surfaced: () => {},
    };
  }

  #take(delivery: Delivery): void {
    const { partition } = this.#o.topology.placeOf(delivery.lane)!;
    const step = this.#steps.get(delivery.lane) ?? [];
    step.push(waitingIn(partition, delivery));
    this.#steps.set(delivery.lane, step);
  }

  /** What may leave its step now, what is due first before the rest. */
  #ready(now: number): readonly Waiting[] {
    const ready: Waiting[] = [];
    for (const step of this.#steps.values()) {
      const stays = step.findIndex(({ leaves }) => leaves > now);
      ready.push(...step.slice(0, stays === -1 ? step.length : stays));
    }
    return ready.toSorted((a, b) => a.due - b.due);
  }

  /** Until the first of a step may leave it, or something happens. */
  async #wait(): Promise<void> {
    const { clock } = this.#o;
    const heads = [...this.#steps.values()].map((step) => step[0]?.leaves ?? NEVER);
    const ms = Math.min(...heads, NEVER) - clock.wall();
    const woken = await new Promise<boolean>((resolve) => {
      const timer = clock.after(Math.min(Math.max(1, ms), LOOK_AGAIN_MS, LONGEST_TIMER), () => resolve(false));
      this.#wake = () => {
        timer.cancel();
        resolve(true);
      };
    });
    this.#wake = () => {};
    if (!woken || this.#stop.signal.aborted) return;
    await sleep(clock, this.#gather, this.#stop.signal).catch(() => {});
    this.#gather = GATHER_MS;
  }

  /** @throws what kept some of it from going on; all of that is still in its step */
  async #forward(ready: readonly Waiting[]): Promise<void> {
    const failures: unknown[] = [];
    const requests = await this.#requests(ready, failures);
    const producer = (this.#producer ??= await this.#o.producer());
    if (this.#stop.signal.aborted) return;
    const before = failures.length;
    await Promise.all(
      requests.map(async (request) => {
        try {
          await this.#send(producer, request);
        } catch (thrown) {
          failures.push(thrown);
        }
      }),
    );
    if (failures.length > before) {
      this.#producer = null;
      await producer.close().catch(() => {});
    }
    if (failures.length > 0) throw failures[0];
  }

  async #requests(ready: readonly Waiting[], failures: unknown[]): Promise<readonly Request[]> {
    const { topology, clock, batchBytes } = this.#o;
    const requests = new Map<number, Request>();
    for (const one of ready) {
      const left = one.due - clock.wall();
      const lane = left > 0 ? topology.delayed(this.#o.topic, stepOf(left)) : await this.#destination(one, failures);
      // It holds up none that are due elsewhere.
      if (lane === null) continue;
      const request = requests.get(lane) ?? { lane, all: [], bytes: 0 };
      const bytes = one.record.value?.length ?? 0;
      // What does not fit goes with the next round, and so does what is behind it.
      if (request.all.length > 0 && request.bytes + bytes > batchBytes) break;
      request.all.push(one);
      request.bytes += bytes;
      requests.set(lane, request);
    }
    for (const { lane } of requests.values()) topology.left(topology.placeOf(lane)!);
    return [...requests.values()];
  }

  /** The partition that it is due in; null: there is none now. */
  async #destination({ record, headers }: Waiting, failures: unknown[]): Promise<number | null> {
    const { topology, topic } = this.#o;
    const group = headers[GROUP] ?? null;
    const name = group === null ? topology.topicOf(topic) : topology.copiesOf(topic, group);
    try {
      if (!topology.knows(name)) await this.#o.declare(group, this.#stop.signal);
      return topology.laneFor(name, record.key);
    } catch (thrown) {
      failures.push(thrown);
      return null;
    }
  }

  async #send(producer: DriverProducer, { lane, all }: Pick<Request, "lane" | "all">): Promise<void> {
    const { topology, topic } = this.#o;
    const to = topology.placeOf(lane)!;
    const again = to.topic === topology.delaysOf(topic);
    let answer: readonly Produced[];
    try {
      answer = await producer.send(
        to.topic,
        to.partition,
        all.map((one) => onItsWay(one, again)),
      );
    } catch (thrown) {
      if (all.length === 1 || !divides(rejection(thrown, to.topic))) throw thrown;
      return await this.#sendHalves(producer, lane, all);
    }
    if (!vouched(answer, to.partition))
      throw new Error(`the answer for partition ${to.partition} of ${to.topic} was ${JSON.stringify(answer)}`);
    // Only now: a commit would lose what the broker does not have.
    for (const { delivery } of all) this.#settled(delivery);
    this.#receiver?.settle(all.map(({ delivery }) => ({ kind: "ack", delivery })));
  }

  /** The whole would be refused again, at each try: what is beside the one that the broker does not take would never go on. */
  async #sendHalves(producer: DriverProducer, lane: number, all: readonly Waiting[]): Promise<void> {
    const half = all.length >> 1;
    let kept: unknown = null;
    for (const some of [all.slice(0, half), all.slice(half)]) {
      try {
        await this.#send(producer, { lane, all: some });
      } catch (thrown) {
        // After anything but such a no the producer is to be given up: nothing more goes by it.
        if (!divides(rejection(thrown, this.#o.topic))) throw thrown;
        kept ??= thrown;
      }
    }
    if (kept !== null) throw kept;
  }

  #settled(delivery: Delivery): void {
    const step = this.#steps.get(delivery.lane);
    const at = step?.findIndex((one) => one.delivery === delivery) ?? -1;
    if (at >= 0) step!.splice(at, 1);
    this.#forwarded++;
  }

  async #forget(least: number): Promise<void> {
    if (this.#forwarded < least) return;
    this.#forwarded = 0;
    // Whoever may not delete keeps them.
    await this.#o.forget().catch(() => {});
  }

  /** Once, until it goes well again. */
  #failed(thrown: unknown): void {
    if (this.#said || this.#stop.signal.aborted) return;
    this.#said = true;
    this.#o.surfaced(
      `what is delayed of ${this.#o.topic} cannot be sent on now, and is tried again: ${describe(thrown)}`,
    );
  }
}
