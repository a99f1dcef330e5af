import {
  type Broker,
  type Clock,
  type Host,
  type Incoming,
  TallyError,
  type TopicPlan,
  type Transport,
} from "@tallymq/core/spi";
import { Engine } from "../broker/engine.ts";
import { type Faults, FaultScript } from "../faults/script.ts";
import { type Bench, sessionLost } from "./bench.ts";
import { libraryOptions, type MemoryOptions } from "./options.ts";
import { copyOf } from "./traits.ts";
import { MemoryTransport } from "./transport.ts";

/** A message in a group's queue, for tests to look at. */
export interface QueuedMessage {
  readonly message: Incoming;
  /** `waiting` for a consumer, `delayed` by a release, or `unsettled`: out at a consumer. */
  readonly state: "waiting" | "delayed" | "unsettled";
  /** Deliveries so far. */
  readonly deliveries: number;
}

/** A broker in this process. Opened by several tallies, it is one broker for all of them. */
export interface MemoryBroker extends Broker {
  /** What goes wrong, and when. */
  readonly faults: Faults;
  /** Resolves when no group holds a message that is neither settled nor a dead letter. */
  idle(signal?: AbortSignal): Promise<void>;
  /** A group's queue, in its order. @throws TallyError `topology` when there is no such group */
  messages(topic: string, group: string): readonly QueuedMessage[];
  /**
   * What came back too often for `deliveryLimit`. (What a consumer gives up is a message of its topic of dead letters.)
   * @throws TallyError `topology` when there is no such group
   */
  deadLetters(topic: string, group: string): readonly Incoming[];
  /** Makes a topic and its groups before any tally does: a message to a topic without a group is unroutable. */
  declare(plan: TopicPlan): void;
  /** Removes a group with its messages; its consumers lose their sessions. @throws TallyError `topology` */
  removeGroup(topic: string, group: string): void;
}

/** @throws TallyError `bad-config` */
export function libraryBroker(given: MemoryOptions): MemoryBroker {
  const options = libraryOptions(given);
  let clock: Clock | null = options.clock;
  const theClock = (): Clock => {
    if (clock === null) throw new TallyError("bad-config", "a delay was asked for before any tally opened this broker");
    return clock;
  };
  const engine = new Engine({ clock: theClock, maxBacklog: options.maxBacklog, deliveryLimit: options.deliveryLimit });
  const sessions: Bench["sessions"] = new Set();
  const script = new FaultScript(() => clock?.now() ?? 0, {
    block: (reason) => engine.block(reason),
    unblock: () => engine.unblock(),
    loseSessions: () => {
      for (const session of [...sessions]) session.lose(sessionLost());
    },
  });
  const bench: Bench = { engine, script, clock: theClock, sessions, seats: new Map(), epoch: 0 };
  return {
    name: options.name,
    open(host: Host): Transport {
      clock ??= host.clock;
      return new MemoryTransport(options.name, bench);
    },
    faults: script,
    idle: (signal) => engine.idle(signal),
    messages: (topic, group) =>
      engine
        .group(topic, group)
        .entries()
        .map(({ entry, state }) => ({ message: copyOf(entry.message), state, deliveries: entry.deliveries })),
    deadLetters: (topic, group) =>
      engine
        .group(topic, group)
        .dead()
        .map((entry) => copyOf(entry.message)),
    declare: (plan) => void engine.declare(plan),
    removeGroup: (topic, group) => engine.removeGroup(topic, group),
  };
}
