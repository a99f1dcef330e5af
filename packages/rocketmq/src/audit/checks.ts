// One thing: the table of all checks. docs/audit.md shows it, and a test of the house holds the two together.
import type { AuditCheck, Found } from "@tallymq/core/spi";
import type { GroupOnBroker, TopicOnBroker } from "../remoting/master.ts";
import { type BrokerState, type GroupState, type TopicState, waitsFor, type World } from "./world.ts";

export type Check =
  | (AuditCheck & { readonly of: "broker"; look(broker: BrokerState, world: World): Found })
  | (AuditCheck & { readonly of: "topic"; look(topic: TopicState, world: World): Found })
  | (AuditCheck & { readonly of: "group"; look(group: GroupState, world: World): Found })
  | (AuditCheck & { readonly of: "cluster"; look(world: World): Found });

/** A broker that gives up sooner than so many times our own attempts throws away what nobody has seen. */
const LIMIT_TIMES = 10;
const DEFAULT_LIMIT = 16;
const HOUR = 3_600_000;
const LEAST_HOURS = 72;

export const CHECKS: readonly Check[] = [
  {
    of: "cluster",
    name: "names",
    severity: "info",
    title: "name servers and brokers answer the admin protocol",
    why: "how a broker keeps messages is in its settings, which the proxy does not show",
    fix: 'rocketmq({ names: ["host:9876"] }), with the brokers\' ports (10911) open to this process',
    look: ({ names }) =>
      names === "" ? null : { text: names === null ? "they are not given" : `one gave no answer: ${names}` },
  },
  {
    of: "cluster",
    name: "master",
    severity: "warning",
    title: "each broker has a master",
    why: "nothing can be sent to its queues, and nothing of them is handed out, until there is one",
    fix: "start it, or let a controller elect one (enableControllerMode)",
    look({ brokers, names }) {
      if (brokers === null) return "unseen";
      if (brokers.length === 0) return { text: "the name servers know no broker" };
      const without = brokers.filter(({ settings, replicas }) => settings === null && replicas > 0 && names === "");
      return without.length === 0 ? null : { text: `${without.map(({ name }) => name).join()} has none` };
    },
  },
  seen({
    name: "flush",
    severity: "error",
    title: "the broker answers when a message is on disk (flushDiskType=SYNC_FLUSH)",
    why: "what it has confirmed is in its memory only: a machine that goes down takes it along",
    fix: "flushDiskType=SYNC_FLUSH in broker.conf, and a restart",
    look(settings) {
      const type = settings.get("flushDiskType") ?? "ASYNC_FLUSH";
      if (type === "SYNC_FLUSH") return null;
      const others = waitsFor(settings);
      if (others !== null && others < 2) return { text: `it is ${type}, and no replica is waited for` };
      return { text: `it is ${type}: replicas are waited for, and no disk`, severity: "warning" };
    },
  }),
  seen({
    name: "replicas",
    severity: "warning",
    title: "the broker answers when a second replica has the message (SYNC_MASTER, inSyncReplicas of 2)",
    why: "with fewer the loss of one disk loses what was confirmed; SYNC_MASTER alone waits for nobody",
    fix: "brokerRole=SYNC_MASTER and inSyncReplicas=2 in broker.conf, with a slave; with controllers allAckInSyncStateSet=true and minInSyncReplicas=2",
    look(settings, { replicas, inSync }) {
      const waits = waitsFor(settings);
      if (waits === null) return { text: "a DLedger commit log: its group is not looked at", severity: "info" };
      const set = ["brokerRole", "inSyncReplicas", "minInSyncReplicas"]
        .flatMap((name) => (settings.has(name) ? [`${name}=${settings.get(name)}`] : []))
        .join(", ");
      if (waits < 2)
        return replicas < 2
          ? { text: `it has no other replica (${set})`, severity: "info" }
          : { text: `it has ${replicas} replicas, and waits for none (${set})` };
      if (inSync === null) return "unseen";
      return inSync >= waits
        ? null
        : {
            text: `${inSync} of the ${waits} replicas that it waits for ${inSync === 1 ? "is" : "are"} in sync`,
            fix: "start the replicas that are down, or look at why they lag behind",
          };
    },
  }),
  seen({
    name: "controller",
    severity: "error",
    title: "no controller makes a replica master that lacks messages (enableElectUncleanMaster=false)",
    why: "what the lost master had confirmed, and the new one never had, is gone",
    fix: "enableElectUncleanMaster=false in the controllers' configuration",
    look(settings, { controllers }) {
      if (settings.get("enableControllerMode") !== "true") return null;
      if (controllers === null) return "unseen";
      return controllers.some((each) => each.get("enableElectUncleanMaster") === "true")
        ? { text: "a controller may (enableElectUncleanMaster=true)" }
        : null;
    },
  }),
  {
    of: "broker",
    name: "version",
    severity: "error",
    title: "the broker is no 5.2.0 to 5.3.3",
    why: "these pass over the error of a failed fsync: what they confirm may be on no disk (RocketMQ's issue 9714)",
    fix: "a later version",
    look({ version }) {
      if (version === null) return "unseen";
      return "5.2.0".localeCompare(version, "en", NUMERIC) <= 0 && version.localeCompare("5.3.3", "en", NUMERIC) <= 0
        ? { text: `it is ${version}` }
        : null;
    },
  },
  seen({
    name: "disk-full",
    severity: "warning",
    title: "a full disk refuses messages, and deletes none (cleanFileForciblyEnable=false)",
    why: "when 85 % of the disk is used the broker deletes its oldest messages, consumed or not, all confirmed",
    fix: "cleanFileForciblyEnable=false in broker.conf: then it refuses what is sent at 90 %",
    look: (settings) =>
      settings.get("cleanFileForciblyEnable") === "false" ? null : { text: "it deletes what is oldest" },
  }),
  seen({
    name: "retention",
    severity: "warning",
    title: `messages are kept for ${LEAST_HOURS} hours at least (fileReservedTime)`,
    why: "what is older is deleted, consumed or not, dead letters as well",
    fix: "fileReservedTime=168 in broker.conf, in hours, and the disk for it",
    look(settings) {
      const hours = Number(settings.get("fileReservedTime") ?? LEAST_HOURS);
      return hours < LEAST_HOURS ? { text: `for ${hours}` } : null;
    },
  }),
  seen({
    name: "transaction-checks",
    severity: "info",
    title: "half messages are asked about for longer than the service may be away",
    why: "the broker counts its checks also while no producer lives, and then drops the half message (TRANS_CHECK_MAX_TIME_TOPIC); Tally sends again what was decided and has no proof of delivery",
    fix: "transactionCheckMax and transactionCheckInterval in broker.conf, or rocketmq({ downtime })",
    look(settings, _, { downtime }) {
      const number = (name: string, otherwise: number): number => Number(settings.get(name) ?? otherwise);
      const checks = number("transactionCheckMax", 15);
      const window = number("transactionTimeOut", 6_000) + checks * number("transactionCheckInterval", 30_000);
      return window >= downtime
        ? null
        : { text: `for ${inWords(window)} (${checks} times); the service may be away for ${inWords(downtime)}` };
    },
  }),
  there("topic", {
    name: "topic-missing",
    severity: "error",
    title: "the topic is on each broker",
    why: "nothing can be sent to it there; where it is on none, nothing at all",
    fix: "let a program with declare: true make it, or mqadmin updateTopic -c <cluster> -t <name> -a +message.type=<type>",
    look: (_, on) => missing(on),
  }),
  there("topic", {
    name: "topic-type",
    severity: "error",
    title: "the topic takes messages of the kind that is sent to it",
    why: "a topic of another kind refuses them, or keeps no order",
    fix: "another topic (rocketmq({ topics })): the kind of one that is there does not change safely",
    look: ({ kind }, on) => differing(on, ({ kind: got }) => (got === kind ? null : `${got}, and ${kind} is needed`)),
  }),
  there("topic", {
    name: "topic-rights",
    severity: "error",
    title: "the topic may be written and read (perm=6)",
    why: "what is sent to it is refused, or nothing of it is handed out",
    fix: "mqadmin updateTopicPerm -c <cluster> -t <name> -p 6",
    look: (_, on) =>
      differing(on, ({ reads, writes }) => (!writes ? "it takes nothing" : !reads ? "it hands nothing out" : null)),
  }),
  there("group", {
    name: "group-missing",
    severity: "warning",
    title: "the group is on each broker",
    why: "its consumers are refused, or made a group by the broker's defaults: 16 retries, beginning anywhere",
    fix: "start a consumer of it that has names",
    look: (_, on) => missing(on),
  }),
  there("group", {
    name: "group-order",
    severity: "error",
    title: "the group of an ordered topic is ordered (consumeMessageOrderly), and no other is",
    why: "two consumers of it have messages of one key at the same time: their effects change places",
    fix: "mqadmin updateSubGroup -c <cluster> -g <name> -o true (or false)",
    look: ({ ordered }, on) =>
      differing(on, (group) =>
        group.ordered === ordered ? null : group.ordered ? "ordered, and the topic is not" : "not ordered",
      ),
  }),
  there("group", {
    name: "group-enabled",
    severity: "error",
    title: "the group may consume (consumeEnable)",
    why: "it gets nothing",
    fix: "mqadmin updateSubGroup -c <cluster> -g <name> -s true",
    look: (_, on) => differing(on, ({ enabled }) => (enabled ? null : "it may not")),
  }),
  there("group", {
    name: "retry-limit",
    severity: "warning",
    title: "the group's retryMaxTimes is at least ten times the handlers' attempts",
    why: "the broker counts each delivery, to a consumer that crashed and to a request that nobody waited for: innocents end in %DLQ%<name>, without a reason",
    fix: "mqadmin updateSubGroup -c <cluster> -g <name> -r 1000",
    look({ attempts }, on) {
      const least = Math.max(DEFAULT_LIMIT + 1, LIMIT_TIMES * attempts);
      return differing(on, ({ retries }) =>
        retries >= least ? null : `it is ${retries}, and ${least} would be enough`,
      );
    },
  }),
];

const NUMERIC: Intl.CollatorOptions = { numeric: true };

/** A check that wants a broker's settings. */
function seen(
  check: AuditCheck & { look(settings: ReadonlyMap<string, string>, broker: BrokerState, world: World): Found },
): Check {
  return {
    ...check,
    of: "broker",
    look: (broker, world) => (broker.settings === null ? "unseen" : check.look(broker.settings, broker, world)),
  };
}

interface States {
  readonly topic: { readonly state: TopicState; readonly there: TopicOnBroker };
  readonly group: { readonly state: GroupState; readonly there: GroupOnBroker };
}

/** One that wants to know what a topic, or a group, is on each broker. */
function there<K extends keyof States>(
  of: K,
  check: AuditCheck & {
    look(state: States[K]["state"], on: ReadonlyMap<string, States[K]["there"] | null>): Found;
  },
): Check {
  const look = (state: States[K]["state"]): Found =>
    state.on === "unseen" ? "unseen" : check.look(state, state.on as ReadonlyMap<string, States[K]["there"] | null>);
  return { ...check, of, look } as Check;
}

function missing(on: ReadonlyMap<string, unknown>): Found {
  const without = [...on].flatMap(([broker, has]) => (has === null ? [broker] : []));
  return without.length === 0 ? null : { text: `it is not on ${without.join(", ")}` };
}

function differing<T>(on: ReadonlyMap<string, T | null>, what: (there: T) => string | null): Found {
  const said = [...on].flatMap(([broker, has]) => {
    const text = has === null ? null : what(has);
    return text === null ? [] : [`on ${broker} ${text}`];
  });
  return said.length === 0 ? null : { text: said.join("; ") };
}

function inWords(ms: number): string {
  return ms >= HOUR ? `${Math.round(ms / 360_000) / 10} h` : `${Math.round(ms / 6_000) / 10} min`;
}
