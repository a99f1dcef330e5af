import type { Host, TopicPlan } from "@tallymq/core/spi";
import { type VirtualClock, virtualClock } from "@tallymq/testkit";
import {
  type Acked,
  type ClientPlan,
  type Driver,
  type HalfAt,
  type InMessage,
  type Link,
  type LinkEvents,
  OK,
  type OutMessage,
  type Received,
  type Sent,
  type Status,
} from "../src/driver/driver.ts";
import { resolveRocket, type RocketOptions } from "../src/options.ts";
import type { Cluster } from "../src/remoting/cluster.ts";
import { RocketTransport } from "../src/transport.ts";

export const ORDERED: TopicPlan = Object.freeze({ name: "steps", ordered: true, groups: [] });
export const SIGNAL: AbortSignal = new AbortController().signal;
export const FINE: Status = Object.freeze({ code: OK, text: "OK" });
export const no = (code: number, text = "no"): Status => ({ code, text });

/** One request with messages, answered by the test. */
export interface SendRequest {
  readonly messages: readonly OutMessage[];
  answer(sent: Sent): void;
  fail(thrown: unknown): void;
}

/** A request that waits for messages. */
export interface Poll {
  readonly topic: string;
  readonly most: number;
  bring(...messages: readonly InMessage[]): void;
  answer(received: Received): void;
  readonly aborted: boolean;
}

export function ids({ messages }: SendRequest): readonly string[] {
  return messages.map(({ properties }) => properties.get("tally-id")!);
}

/** As the proxy says it: one entry, with the ids between commas. */
export function stored(request: SendRequest): void {
  const messageId = request.messages.map((m) => m.messageId).join();
  const transactionId = request.messages.some(({ half }) => half) ? `tx-${messageId}` : "";
  request.answer({ status: FINE, entries: [{ status: FINE, messageId, transactionId }] });
}

export class FakeLink implements Link {
  readonly endpoint = "localhost:8081";
  readonly plan: ClientPlan;
  readonly events: LinkEvents;
  readonly polls: Poll[] = [];
  /** `handle ms`, in the order of asking. */
  readonly changes: string[] = [];
  /** Handles of each request. */
  readonly acks: (readonly string[])[] = [];
  /** By handle: what its ack is answered with. */
  readonly refusedAcks: Map<string, Status> = new Map();
  /** Decisions of half messages, in the order of their coming. */
  readonly decisions: string[] = [];
  /** What decisions are answered with. */
  decided: Status = FINE;
  readonly announced: (readonly string[])[] = [];
  ackFailure: Error | null = null;
  /** What changes of invisible times are answered with. */
  changed: Status = FINE;
  /** Changes are answered only then. */
  gate: Promise<void> = Promise.resolve();
  closed = 0;
  readonly #driver: FakeDriver;

  constructor(plan: ClientPlan, events: LinkEvents, driver: FakeDriver) {
    this.plan = plan;
    this.events = events;
    this.#driver = driver;
  }

  send(messages: readonly OutMessage[]): Promise<Sent> {
    return new Promise((answer, fail) => this.#driver.requests.push({ messages, answer, fail }));
  }

  receive({ topic, most }: { readonly topic: string; readonly most: number }, signal: AbortSignal): Promise<Received> {
    return new Promise((answer, fail) => {
      const poll = {
        topic,
        most,
        aborted: false,
        answer,
        bring: (...messages: readonly InMessage[]) => answer({ status: FINE, messages }),
      };
      signal.addEventListener("abort", () => {
        poll.aborted = true;
        fail(new Error("1 CANCELLED"));
      });
      this.polls.push(poll);
    });
  }

  ack(_group: string, _topic: string, entries: readonly { readonly handle: string }[]): Promise<Acked> {
    this.acks.push(entries.map(({ handle }) => handle));
    if (this.ackFailure !== null) return Promise.reject(this.ackFailure);
    const each = entries.map(({ handle }) => [handle, this.refusedAcks.get(handle) ?? FINE] as const);
    return Promise.resolve({ status: FINE, entries: new Map(each) });
  }

  async invisible(
    _group: string,
    _topic: string,
    { handle }: { readonly handle: string },
    ms: number,
  ): Promise<{ readonly status: Status; readonly handle: string }> {
    this.changes.push(`${handle} ${ms}`);
    await this.gate;
    return { status: this.changed, handle: `${handle}'` };
  }

  decide({ topic, transactionId }: HalfAt, decision: string, asked: boolean): Promise<Status> {
    this.decisions.push(`${topic} ${transactionId} ${decision}${asked ? ", as asked" : ""}`);
    return Promise.resolve(this.decided);
  }

  announce(topics: readonly string[]): void {
    this.announced.push(topics);
  }

  route(topic: string): Promise<Status> {
    return Promise.resolve(this.#driver.missing.has(topic) ? no(40_402, "No topic route info") : FINE);
  }

  close(): Promise<void> {
    this.closed++;
    return Promise.resolve();
  }

  /** The newest request of a topic that waits. */
  poll(topic: string): Poll {
    const found = this.polls.findLast((poll) => poll.topic === topic);
    if (found === undefined) throw new Error(`nobody asks for ${topic}`);
    return found;
  }
}

/** The seam, with everything in the test's hands. */
export class FakeDriver implements Driver {
  readonly clock: VirtualClock = virtualClock();
  readonly links: FakeLink[] = [];
  readonly requests: SendRequest[] = [];
  readonly missing: Set<string> = new Set();
  refuse: unknown = null;
  /** What ends each new link, before whoever opens has it. */
  dying: unknown = null;

  open(plan: ClientPlan, events: LinkEvents): Promise<Link> {
    if (this.refuse !== null) return Promise.reject(this.refuse as Error);
    const link = new FakeLink(plan, events, this);
    this.links.push(link);
    if (this.dying !== null) events.lost(this.dying);
    return Promise.resolve(link);
  }

  transport(options: Partial<RocketOptions> = {}, cluster: Cluster | null = null): RocketTransport {
    let byte = 0;
    const host: Host = {
      service: "shop",
      run: "0123456789abcdef0123456789abcdef",
      clock: this.clock,
      random: { unit: () => 0.5, bytes: (length) => new Uint8Array(length).fill(++byte) },
    };
    return new RocketTransport(resolveRocket({ endpoints: ["localhost:8081"], ...options }), host, this, cluster);
  }

  get link(): FakeLink {
    return this.links.at(-1)!;
  }
}

/** As the driver gives it. */
export function came(handle: string, given: Partial<InMessage> = {}): InMessage {
  return {
    topic: "orders",
    messageId: handle,
    handle,
    properties: new Map([["tally-id", handle]]),
    body: Buffer.from("{}"),
    gzip: false,
    messageGroup: null,
    queueId: 0,
    offset: 0,
    attempt: 1,
    corrupted: false,
    ...given,
  };
}
