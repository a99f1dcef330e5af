import { seeded } from "../../workload/random.ts";

/**
 * `broker-away`: killed, and not started again for so long that messages are stored instead. `leader-killed`: of several
 * nodes the one that leads. `proxy-killed`: not the broker, but what clients speak to. `rebalance`: a consumer leaves its group and comes back.
 */
export type FaultKind =
  | "broker-killed"
  | "broker-away"
  | "leader-killed"
  | "proxy-killed"
  | "rebalance"
  | "connections-cut"
  | "publisher-killed"
  | "consumer-killed"
  | "relay-killed";

/** One thing that will go wrong. */
export interface FaultPlan {
  readonly kind: FaultKind;
  /** When: at this share of all messages, 0 to 1, counted by what was accepted. Time says nothing on a slow machine. */
  readonly share: number;
  /** Which of the publishers or consumers, where one is killed. (Who relays is not ours to choose.) */
  readonly victim: number;
  /** What goes wrong before this one is made good. */
  readonly within: FaultPlan | null;
}

/**
 * Broker killed, publisher killed, consumer killed, connections cut, and the broker away: spread over the run, moved a
 * little by the seed. While it is away the process that is to send what was stored meanwhile is killed as well.
 *
 * Where clients speak to a proxy, that is killed instead of the connections being cut.
 *
 * Of a cluster the leader is killed, twice, and it is never away as a whole; between the two the group rebalances again
 * and again.
 */
export function planFaults(
  seed: number,
  of: {
    readonly publishers: number;
    readonly consumers: number;
    readonly relays: boolean;
    readonly cluster: boolean;
    readonly proxy: boolean;
  },
): readonly FaultPlan[] {
  const random = seeded(seed ^ 0x5eed);
  const plan = (kind: FaultKind, share: number, victims: number, within: FaultPlan | null = null): FaultPlan => ({
    kind,
    share: share + (random() - 0.5) * 0.06,
    victim: Math.floor(random() * victims),
    within,
  });
  if (of.cluster)
    return [
      plan("leader-killed", 0.12, 1),
      plan("publisher-killed", 0.26, of.publishers),
      plan("consumer-killed", 0.38, of.consumers),
      plan("connections-cut", 0.5, 1),
      ...[0.6, 0.64, 0.68, 0.72].map((share) => plan("rebalance", share, of.consumers)),
      plan("leader-killed", 0.84, 1),
    ];
  return [
    plan("broker-killed", 0.14, 1),
    plan("publisher-killed", 0.3, of.publishers),
    plan("consumer-killed", 0.44, of.consumers),
    plan(of.proxy ? "proxy-killed" : "connections-cut", 0.58, 1),
    plan("broker-away", 0.74, 1, of.relays ? plan("relay-killed", 0.74, 1) : null),
  ];
}

/** All of a plan, those within others too. */
export function flat(plan: readonly FaultPlan[]): readonly FaultPlan[] {
  return plan.flatMap((fault) => [fault, ...(fault.within === null ? [] : flat([fault.within]))]);
}
