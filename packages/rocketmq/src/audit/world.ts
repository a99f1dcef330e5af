import type { GroupOnBroker, TopicKind, TopicOnBroker } from "../remoting/master.ts";

export interface BrokerState {
  readonly name: string;
  /** Null: it gave no answer, or there is no master at the moment. */
  readonly settings: ReadonlyMap<string, string> | null;
  /** As `5.5.0`; null: not known. */
  readonly version: string | null;
  /** Those that are registered now, the master among them. */
  readonly replicas: number;
  /** Of them, those that have what the master has; null: not known. */
  readonly inSync: number | null;
  /** Of the controllers that answer; null: none does, or there are none. */
  readonly controllers: readonly ReadonlyMap<string, string>[] | null;
}

export interface TopicState {
  /** On the broker. */
  readonly name: string;
  readonly kind: TopicKind;
  /** By broker; null: it is not there. `unseen`: nobody could be asked. */
  readonly on: ReadonlyMap<string, TopicOnBroker | null> | "unseen";
}

export interface GroupState {
  readonly name: string;
  readonly ordered: boolean;
  /** Most times that a message is begun here. */
  readonly attempts: number;
  readonly on: ReadonlyMap<string, GroupOnBroker | null> | "unseen";
}

/** What the checks are about: a cluster as it was seen, and nothing that they would have to ask for. */
export interface World {
  readonly destination: string;
  /** Null: name servers are not given. Else why one of them, or a broker, did not answer, or "" if all did. */
  readonly names: string | null;
  /** Null: not known which there are. */
  readonly brokers: readonly BrokerState[] | null;
  readonly topics: readonly TopicState[];
  readonly groups: readonly GroupState[];
  /** Milliseconds that no process of the service may be there. */
  readonly downtime: number;
}

/** Replicas that have a message when the broker answers; null: a DLedger commit log, which asks its majority. */
export function waitsFor(settings: ReadonlyMap<string, string>): number | null {
  const on = (name: string): boolean => settings.get(name) === "true";
  const count = (name: string): number => Number(settings.get(name) ?? 1);
  if (on("enableDLegerCommitLog")) return null;
  if (settings.get("brokerRole") !== "SYNC_MASTER") return 1;
  // As many as are in sync, and that may be few: what counts is the least that are asked for.
  if (on("enableControllerMode") && on("allAckInSyncStateSet")) return count("minInSyncReplicas");
  if (on("enableAutoInSyncReplicas")) return Math.min(count("inSyncReplicas"), count("minInSyncReplicas"));
  return count("inSyncReplicas");
}
