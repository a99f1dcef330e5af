import {
  type Clock,
  type HalfEvents,
  type HalfMessagePort,
  type HalfSession,
  type OpenSessions,
  type Outgoing,
  raced,
  type Sure,
  TallyError,
  type TopicPlan,
} from "@tallymq/core/spi";
import type { RocketAdmin } from "../admin.ts";
import type { Driver } from "../driver/driver.ts";
import { classify } from "../errors.ts";
import type { Cluster } from "../remoting/cluster.ts";
import type { Topology } from "../topology.ts";
import type { Limits } from "../verdicts.ts";
import { halfId } from "./identity.ts";
import { RocketHalfSession } from "./session.ts";

export interface RocketHalvesOptions extends Limits {
  readonly driver: Driver;
  readonly topology: Topology;
  readonly admin: RocketAdmin;
  readonly cluster: Cluster;
  readonly clock: Clock;
  /** Of the transport. */
  readonly sessions: OpenSessions;
}

/** Where the broker puts half messages that it has asked about often enough. */
const DROPPED = "TRANS_CHECK_MAX_TIME_TOPIC";
/** What the broker does where its settings do not say. */
const DEFAULTS = { transactionTimeOut: 6_000, transactionCheckInterval: 30_000, transactionCheckMax: 15 } as const;
/** Its timer, and the way through the proxy. */
const MARGIN_MS = 5_000;

/**
 * Transactions of RocketMQ. A half message of topic `orders` is one of topic `orders_halves`, which is of the kind TRANSACTION: so
 * all others of `orders` keep their kind and their batches, and one that has to be sent again as a row goes that way.
 */
export class RocketHalves implements HalfMessagePort {
  readonly #o: RocketHalvesOptions;

  constructor(options: RocketHalvesOptions) {
    this.#o = options;
  }

  refuses({ name, ordered }: TopicPlan): TallyError | null {
    if (!ordered) return null;
    return new TallyError(
      "unsupported",
      `topic ${JSON.stringify(name)} is ordered, and RocketMQ keeps no order of half messages`,
    );
  }

  async open(topics: readonly TopicPlan[], events: HalfEvents, signal: AbortSignal): Promise<HalfSession> {
    const { driver, topology, admin, clock, maxBytes, sessions } = this.#o;
    const session = new RocketHalfSession(events, {
      topicOf: (topic) => topology.halvesOf(topic),
      declare: (plan, until) => admin.declareHalves(plan, until),
      accepted: () => topology.accepted,
      turnedAway: (topic) => admin.turnsAway(topic),
      ended: sessions.ended,
      clock,
      limits: { maxBytes },
    });
    for (const plan of topics) await session.add(plan, signal);
    try {
      const opening = driver.open(
        { kind: "producer", topics: session.topics },
        { lost: (thrown) => session.lost(thrown), asked: (half, message) => session.asked(half, message) },
        signal,
      );
      session.use(await raced(opening, signal, (late) => void late.close()));
    } catch (thrown) {
      throw signal.aborted ? signal.reason : classify(thrown, "half messages", "opening");
    }
    return sessions.add(session);
  }

  async delivered(message: Outgoing, signal: AbortSignal): Promise<Sure> {
    const { cluster, topology } = this.#o;
    const topic = topology.halvesOf(message.topic);
    const id = await halfId(message);
    const held = async (): Promise<Sure> => {
      const masters = await cluster.masters();
      const each = await Promise.all(masters.map((master) => master.holds(topic, id)));
      return each.includes(true) ? "yes" : "no";
    };
    return await raced(held(), signal);
  }

  async asksFor(signal: AbortSignal): Promise<number> {
    const { cluster } = this.#o;
    const longest = async (): Promise<number> => {
      const masters = await cluster.masters();
      const each = await Promise.all(masters.map(async (master) => asksFor(await master.settings())));
      return Math.max(...each);
    };
    return await raced(longest(), signal);
  }

  async dropped(signal: AbortSignal): Promise<number> {
    const { cluster } = this.#o;
    const sum = async (): Promise<number> => {
      const masters = await cluster.masters();
      const each = await Promise.all(masters.map((master) => master.ever(DROPPED)));
      return each.reduce((all, one) => all + one, 0);
    };
    return await raced(sum(), signal);
  }
}

/** From the half message's own time: the first question, and all that follow, each perhaps an interval late. */
function asksFor(settings: ReadonlyMap<string, string>): number {
  const of = (name: keyof typeof DEFAULTS): number => {
    const given = Number(settings.get(name));
    return Number.isFinite(given) && given > 0 ? given : DEFAULTS[name];
  };
  const interval = of("transactionCheckInterval");
  return of("transactionTimeOut") + interval * (of("transactionCheckMax") + 2) + MARGIN_MS;
}
