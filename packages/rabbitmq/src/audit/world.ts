import type { ResolvedOptions } from "../options.ts";
import type { Settings } from "../questions.ts";

/** A policy of the broker that applies to a queue. */
export interface Policy {
  readonly name: string;
  readonly operator: boolean;
  readonly definition: Readonly<Record<string, unknown>>;
}

export interface QueueState {
  readonly name: string;
  /** Null: it is not there. `hidden`: it is, and this user may not know what it is like. */
  readonly settings: Settings | null | "hidden";
  /** As Tally would make it. */
  readonly expected: Settings;
  /** Of dead letters: looked through by people, consumed by nobody. */
  readonly letters: boolean;
  readonly ordered: boolean;
  /** What applies to it, the operator's last; null: only the management API knows. */
  readonly policies: readonly Policy[] | null;
  /** Of a quorum queue: nodes that have a replica, and those of them that are up; null as above. */
  readonly replicas: { readonly members: number; readonly online: number } | null;
  /** Whether the exchange of its topic leads to it; null as above, and where no exchange is meant to. */
  readonly bound: boolean | null;
  /** Whether its dead letters have somewhere to go; null as above. */
  readonly deadLettersArrive: boolean | null;
  /** Messages that would not outlive a restart: others published them so. */
  readonly transient: number | null;
  /** Longest time that a delivery is held here, in milliseconds; 0: it is not consumed here. */
  readonly holdsMs: number;
  /** Most times that a message is begun here. */
  readonly attempts: number;
}

export interface ExchangeState {
  readonly name: string;
  readonly settings: Settings | null | "hidden";
  readonly type: string;
}

/** What the checks are about: a broker as it was seen, and nothing that they would have to ask for. */
export interface World {
  readonly destination: string;
  readonly vhost: string;
  readonly exchanges: readonly ExchangeState[];
  readonly queues: readonly QueueState[];
  /** Nodes of the cluster; null: not known. */
  readonly nodes: number | null;
  /** Null: not asked for. Else why it did not answer, or "" if it did. */
  readonly management: string | null;
  /** Milliseconds; 0: off. */
  readonly heartbeat: number;
  /** How publishes are confirmed. */
  readonly mode: ResolvedOptions["mode"];
}

/** What a setting is in the end, argument and policies together, and where it comes from. */
export interface Effective {
  readonly value: string | number | boolean | null;
  readonly from: string;
}

// Of these the broker takes the smaller one; of all others the argument goes before the policy.
const LEAST: ReadonlySet<string> = new Set([
  "delivery-limit",
  "max-length",
  "max-length-bytes",
  "message-ttl",
  "expires",
  "consumer-timeout",
]);

/** @param key Without `x-`. */
export function effective(queue: QueueState, key: string): Effective {
  const settings = queue.settings === "hidden" ? null : queue.settings;
  let best: Effective = { value: settings?.[`x-${key}`] ?? null, from: `argument x-${key}` };
  for (const { name, operator, definition } of queue.policies ?? []) {
    const given = definition[key];
    if (typeof given !== "string" && typeof given !== "number" && typeof given !== "boolean") continue;
    const from = `${operator ? "operator policy" : "policy"} ${JSON.stringify(name)}`;
    if (best.value === null) best = { value: given, from };
    else if (LEAST.has(key) && typeof given === "number" && typeof best.value === "number" && given < best.value)
      best = { value: given, from };
  }
  return best;
}
