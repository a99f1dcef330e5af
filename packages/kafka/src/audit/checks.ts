// One thing: the table of all checks. docs/audit.md shows it, and a test of the house holds the two together.
import type { AuditCheck, Found } from "@tallymq/core/spi";
import { moreReplicas } from "./reassignment.ts";
import type { GroupPartition, GroupState, PartitionState, TopicState, World } from "./world.ts";

export type Check =
  | (AuditCheck & { readonly of: "topic"; look(topic: TopicState, world: World): Found })
  | (AuditCheck & { readonly of: "group"; look(group: GroupState): Found })
  | (AuditCheck & { readonly of: "broker"; look(world: World): Found });

/** Names of the settings that checks look at. */
export const MIN_ISR = "min.insync.replicas";
export const UNCLEAN = "unclean.leader.election.enable";
export const RETENTION = "retention.ms";
export const RETENTION_BYTES = "retention.bytes";
export const MAX_BYTES = "max.message.bytes";
export const CLEANUP = "cleanup.policy";

/** Of a group that is behind by so many messages something is said. */
const MANY = 10_000;

const TOPIC = "kafka-configs --bootstrap-server <brokers> --alter --entity-type topics --entity-name <name>";
const ALTER = `${TOPIC} --add-config`;

export const CHECKS: readonly Check[] = [
  {
    of: "topic",
    name: "topic-missing",
    severity: "error",
    title: "the topic is there",
    why: "nothing can be published to it",
    fix: "kafka-topics --bootstrap-server <brokers> --create --topic <name> --partitions 6 --replication-factor 3 --config min.insync.replicas=2, or declare: true",
    // Dead letters and delays have theirs when the first one comes.
    look: ({ partitions, purpose }) =>
      partitions === "hidden"
        ? "unseen"
        : partitions === null && (purpose === "own" || purpose === "copies")
          ? { text: "it is not there" }
          : null,
  },
  {
    of: "topic",
    name: "leader",
    severity: "warning",
    title: "each partition has a leader",
    why: "nothing can be published to a partition of which every replica is down, nor read from it",
    fix: "start the brokers that are down: kafka-topics --bootstrap-server <brokers> --describe --topic <name> names them",
    look: ({ partitions }) => (partitions === "leaderless" ? { text: "some of its partitions have none" } : null),
  },
  placed({
    name: "replication-factor",
    severity: "error",
    title: "each partition has more than one replica",
    why: "Kafka confirms what its replicas have in memory: of one alone, the loss of its machine loses what was confirmed",
    fix: "kafka-reassign-partitions --bootstrap-server <brokers> --reassignment-json-file FILE --execute, with more replicas for each partition of <name>",
    look(_, partitions, { brokers }) {
      const alone = partitions.filter(({ replicas }) => replicas.length < 2).length;
      if (alone === 0) return null;
      const text = `${alone} of its ${partitions.length} partitions have one replica`;
      const fix = moreReplicas(partitions, brokers);
      return brokers.length < 2
        ? { text: `${text}: the cluster has one broker`, severity: "info", fix: `run three brokers, then ${fix}` }
        : { text, fix };
    },
  }),
  placed({
    name: "in-sync",
    severity: "warning",
    title: "every replica is in sync",
    why: "one more failure may stop publishing, and what is confirmed meanwhile is on fewer machines",
    fix: "start the brokers that are down: kafka-topics --bootstrap-server <brokers> --describe --under-replicated-partitions names them",
    look(_, partitions) {
      const behind = partitions.filter(({ replicas, inSync }) => inSync.length < replicas.length).length;
      return behind === 0 ? null : { text: `${behind} of its ${partitions.length} partitions lack a replica` };
    },
  }),
  set({
    name: "min-insync-replicas",
    severity: "error",
    title: "min.insync.replicas is more than 1, and less than the replication factor",
    why: "at 1, what is confirmed while the other replicas are away is in the memory of one machine; at the replication factor, one broker that is away stops publishing",
    fix: `${ALTER} min.insync.replicas=2`,
    look({ partitions }, settings) {
      const replicas = Math.min(...partitions.map((one) => one.replicas.length));
      // Of one replica another check says all there is to say.
      if (partitions.length === 0 || replicas < 2) return null;
      const least = Number(settings.get(MIN_ISR));
      if (!(least > 1)) {
        const text = `it is ${least}, of ${replicas} replicas`;
        return replicas > 2
          ? { text }
          : {
              text,
              fix: `give it three replicas first (kafka-reassign-partitions), then ${ALTER} min.insync.replicas=2`,
            };
      }
      if (least < replicas) return null;
      return {
        text: `it is ${least}, of ${replicas} replicas: one broker that is away stops publishing`,
        severity: "warning",
        fix:
          replicas > 2
            ? `${ALTER} min.insync.replicas=${replicas - 1}`
            : "give it three replicas: kafka-reassign-partitions --bootstrap-server <brokers> --reassignment-json-file FILE --execute",
      };
    },
  }),
  set({
    name: "unclean-election",
    severity: "error",
    title: "no replica that lacks messages becomes leader (unclean.leader.election.enable)",
    why: "when the replicas that have everything are away, one that has less takes over, and what it lacks is thrown away, confirmed as it was",
    fix: `${ALTER} unclean.leader.election.enable=false`,
    look: (_, settings) => (settings.get(UNCLEAN) === "true" ? { text: "one may" } : null),
  }),
  set({
    name: "cleanup-policy",
    severity: "error",
    title: "messages are not compacted (cleanup.policy)",
    why: "of the messages of a key only the last stays, whether a group has had the others or not; and one without a key is refused",
    fix: `${ALTER} cleanup.policy=delete`,
    look(_, settings) {
      const policy = settings.get(CLEANUP) ?? "";
      return policy.split(",").some((one) => one.trim() === "compact") ? { text: `it is ${policy}` } : null;
    },
  }),
  set({
    name: "retention",
    severity: "warning",
    title:
      "messages are kept at least as long as the outbox may have to wait, and longer than they are in handlers; dead letters and delays are kept for ever",
    why: "what a group has not had by then is deleted, confirmed as it was: an outage that publishers bridge with their outbox is one for consumers too",
    fix: `${ALTER} retention.ms=<ms>`,
    look({ purpose, holdsMs, outboxMs }, settings) {
      const kept = Number(settings.get(RETENTION) ?? -1);
      if (kept < 0 || !deletes(settings)) return null;
      const text = `messages are kept for ${span(kept)}`;
      const fix = (ms: number): string => `${ALTER} retention.ms=${ms}`;
      if (purpose === "letters") return { text: `${text}, and dead letters wait for a person`, fix: fix(-1) };
      if (purpose === "delays")
        return { text: `${text}, and delayed ones wait here for up to 12 days`, severity: "error", fix: fix(-1) };
      if (kept <= holdsMs)
        return {
          text: `${text}, and handlers may take ${span(holdsMs)} for one`,
          severity: "error",
          fix: fix(Math.max(2 * holdsMs, outboxMs)),
        };
      return kept < outboxMs
        ? { text: `${text}, and the outbox may have waited for ${span(outboxMs)}`, fix: fix(outboxMs) }
        : null;
    },
  }),
  set({
    name: "retention-bytes",
    severity: "warning",
    title: "messages are kept however many they are (retention.bytes)",
    why: "when a partition is full its oldest messages are deleted, whether a group has had them or not; an outbox that empties itself may fill it at once",
    fix: `${ALTER} retention.bytes=-1`,
    look(_, settings) {
      const most = Number(settings.get(RETENTION_BYTES) ?? -1);
      return most < 0 || !deletes(settings) ? null : { text: `a partition holds at most ${most} bytes` };
    },
  }),
  set({
    name: "retention-inbox",
    severity: "warning",
    title: "messages are gone before the inbox forgets them",
    why: "a group that begins again (its commits were kept for less than it was away, or a person set them back) has messages again whose effects nobody remembers",
    fix: "a longer keepFor of the inbox, as in sqlite(path, { keepFor }), or a shorter retention.ms",
    look({ remembersMs }, settings) {
      if (remembersMs === null || remembersMs === Infinity) return null;
      const kept = Number(settings.get(RETENTION) ?? -1);
      const remembered = `the inbox remembers for ${span(remembersMs)}`;
      if (kept < 0 || !deletes(settings))
        return {
          text: `messages are kept for ever, and ${remembered}`,
          fix: `${ALTER} retention.ms=${remembersMs}, or begin no group again`,
        };
      return kept <= remembersMs
        ? null
        : {
            text: `messages are kept for ${span(kept)}, and ${remembered}`,
            fix: `a keepFor of ${span(kept)} or more of the inbox, as in sqlite(path, { keepFor }), or ${ALTER} retention.ms=${remembersMs}`,
          };
    },
  }),
  set({
    name: "message-bytes",
    severity: "warning",
    title: "the topic takes what kafka() takes: max.message.bytes, with room for key and headers",
    why: "a message that publish() lets through is refused by the broker (too-large), or parked if it was in the outbox",
    fix: `${ALTER} max.message.bytes=<bytes>, or a smaller kafka({ maxBytes })`,
    look(_, settings, { messageBytes, batchBytes }) {
      const most = Number(settings.get(MAX_BYTES) ?? Infinity);
      const enough = Math.max(messageBytes, batchBytes);
      const fix = `${ALTER} max.message.bytes=${enough}, or a smaller kafka({ maxBytes, batchBytes })`;
      if (most < messageBytes)
        return {
          text: `it takes ${most} bytes, and the largest message may have ${messageBytes} with its headers`,
          fix,
        };
      if (most >= batchBytes) return null;
      return {
        text: `it takes ${most} bytes, and a batch may have ${batchBytes}: one that has is refused, and goes in halves`,
        severity: "info",
        fix,
      };
    },
  }),
  {
    of: "group",
    name: "group-gap",
    severity: "error",
    title: "what the group has not had is still there",
    why: "messages were deleted before the group had them: lost for it; or the topic was made anew, and it would pass over what comes",
    fix: 'kafka({ offsetReset: "earliest" }) goes on without them; or kafka-consumer-groups --bootstrap-server <brokers> --group <name> --reset-offsets --to-earliest --all-topics --execute while no member runs',
    look({ partitions }) {
      if (partitions === "hidden") return "unseen";
      const gaps = partitions.flatMap(({ topic, partition, committed, low, high }) => {
        if (committed === null || (committed >= low && committed <= high)) return [];
        return committed < low
          ? [`messages ${committed} to ${low - 1} of ${topic}/${partition} are gone`]
          : [`${topic}/${partition} ends at ${high}, before the group's offset ${committed}`];
      });
      return gaps.length === 0 ? null : { text: gaps.join("; ") };
    },
  },
  {
    of: "group",
    name: "group-lag",
    severity: "warning",
    title: "the group has had every message before half of its retention is over",
    why: "what it has not had when the other half is over is deleted",
    fix: "more members or lanes, or a longer retention.ms; kafka-consumer-groups --bootstrap-server <brokers> --describe --group <name> shows where it is",
    look({ partitions }) {
      if (partitions === "hidden") return "unseen";
      const behind = partitions.reduce((sum, one) => sum + lagOf(one), 0);
      const old = partitions.filter((one) => one.halfKept !== null && lagOf(one) > 0 && fromOf(one) < one.halfKept);
      if (old.length > 0)
        return {
          text: `${behind} messages are not settled, and in ${old.map((one) => `${one.topic}/${one.partition}`).join(", ")} the oldest of them have used up half of the retention`,
        };
      return behind < MANY ? null : { text: `${behind} messages are not settled`, severity: "info" };
    },
  },
  {
    of: "broker",
    name: "auto-create",
    severity: "warning",
    title: "topics are not made by asking for them (auto.create.topics.enable)",
    why: "a client with a wrong name, or that comes first, makes a topic with the broker's defaults: one replica, messages that nobody reads",
    fix: "auto.create.topics.enable=false in server.properties of each broker, and restart them one after the other",
    look: ({ autoCreate }) =>
      autoCreate === "hidden" ? "unseen" : autoCreate ? { text: "whoever asks for a topic makes it" } : null,
  },
];

/** A check that wants to know where partitions are. */
function placed(
  check: AuditCheck & { look(topic: TopicState, partitions: readonly PartitionState[], world: World): Found },
): Check {
  return {
    ...check,
    of: "topic",
    look: (topic, world) =>
      topic.partitions === "hidden"
        ? "unseen"
        : topic.partitions === null || topic.partitions === "leaderless"
          ? null
          : check.look(topic, topic.partitions, world),
  };
}

/** A check that wants to know what the topic is set to. */
function set(
  check: AuditCheck & {
    look(
      topic: TopicState & { readonly partitions: readonly PartitionState[] },
      settings: ReadonlyMap<string, string>,
      world: World,
    ): Found;
  },
): Check {
  return placed({
    ...check,
    look: (topic, partitions, world) =>
      topic.settings === "hidden" ? "unseen" : check.look({ ...topic, partitions }, topic.settings, world),
  });
}

/** Whether messages are deleted for their age or their number; of `compact` alone, none is. */
function deletes(settings: ReadonlyMap<string, string>): boolean {
  const policy = settings.get(CLEANUP);
  return policy === undefined || policy.includes("delete");
}

function fromOf({ committed, low }: GroupPartition): number {
  return Math.max(committed ?? low, low);
}

function lagOf(one: GroupPartition): number {
  return Math.max(0, one.high - fromOf(one) - one.beyond);
}

/** As options take it. */
function span(ms: number): string {
  for (const [unit, size] of [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1_000],
  ] as const)
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  return `${ms}ms`;
}
