// One thing: the table of all checks. docs/audit.md shows it, and a test of the house holds the two together.
import type { AuditCheck, Found } from "@tallymq/core/spi";
import { effective, type ExchangeState, type QueueState, type World } from "./world.ts";

export type Check =
  | (AuditCheck & { readonly of: "queue"; look(queue: QueueState, world: World): Found })
  | (AuditCheck & { readonly of: "exchange"; look(exchange: ExchangeState, world: World): Found })
  | (AuditCheck & { readonly of: "broker"; look(world: World): Found });

/** How the broker has them where nothing is set (RabbitMQ 4). */
const DEFAULT_DELIVERY_LIMIT = 20;
const DEFAULT_CONSUMER_TIMEOUT_MS = 1_800_000;
/** Below so many times our own attempts, crashes of consumers use up the limit of messages that nobody has seen. */
const LIMIT_TIMES = 10;
const ANEW = "rabbitmqctl delete_queue --vhost <vhost> <name> (when it is empty), then start again with declare: true";

export const CHECKS: readonly Check[] = [
  {
    of: "exchange",
    name: "exchange-missing",
    severity: "error",
    title: "the exchange is not there",
    why: "nothing can be published to it",
    fix: "rabbitmqadmin declare exchange name=<name> type=<type> durable=true, or declare: true",
    look: ({ settings }) => (settings === null ? { text: "it is not there" } : null),
  },
  {
    of: "exchange",
    name: "exchange-durable",
    severity: "error",
    title: "the exchange is durable",
    why: "a restart of the broker takes it away with its bindings: messages are unroutable, and consumers hear nothing",
    fix: "rabbitmqadmin delete exchange name=<name>, then start again with declare: true",
    look: ({ settings }) =>
      settings === null
        ? null
        : settings === "hidden"
          ? "unseen"
          : settings["durable"] === false
            ? { text: "it is not durable" }
            : settings["auto_delete"] === true
              ? { text: "it is deleted with its last binding (auto-delete)" }
              : null,
  },
  {
    of: "queue",
    name: "queue-missing",
    severity: "error",
    title: "the queue is not there",
    why: "its group gets nothing of what is published meanwhile",
    fix: "let a program with declare: true make it",
    look: ({ settings }) => (settings === null ? { text: "it is not there" } : null),
  },
  seen({
    name: "queue-durable",
    severity: "error",
    title: "the queue is durable, and nobody's own",
    why: "a restart of the broker, or the end of a connection, takes it away with all messages in it",
    fix: ANEW,
    look: ({ settings: s }) =>
      s["durable"] === false
        ? { text: "it is not durable" }
        : s["exclusive"] === true
          ? { text: "it belongs to one connection (exclusive)" }
          : s["auto_delete"] === true
            ? { text: "it is deleted with its last consumer (auto-delete)" }
            : null,
  }),
  seen({
    name: "queue-type",
    severity: "warning",
    title: "the queue is a quorum queue",
    why: "a classic queue lives on one node's disk and has no delivery limit: that disk is all there is of its messages",
    fix: `rabbitmq({ queueType: "quorum" }); ${ANEW}`,
    look: ({ settings: s }) =>
      s["x-queue-type"] === "stream"
        ? { text: "it is a stream, which Tally does not consume", severity: "error" }
        : (s["x-queue-type"] ?? "classic") === "classic"
          ? { text: "it is a classic queue" }
          : null,
  }),
  seen({
    name: "replicas",
    severity: "warning",
    title: "a quorum queue has three replicas that are up",
    why: "with fewer, the loss of one node stops the queue, and that of its disk loses what was confirmed",
    fix: "rabbitmq-queues grow rabbit@<node> all",
    look({ settings: s, replicas }, { nodes }) {
      if (s["x-queue-type"] !== "quorum") return null;
      if (replicas === null) return "unseen";
      const { members, online } = replicas;
      if (online < members)
        return {
          text: `${online} of its ${members} replicas are up`,
          fix: "start the nodes that are down: rabbitmqctl cluster_status",
        };
      if (members >= 3) return null;
      return nodes !== null && nodes < 3
        ? {
            text: `${members} ${members === 1 ? "replica" : "replicas"}: the cluster has no more nodes`,
            severity: "info",
            fix: "run three nodes, then rabbitmq-queues grow rabbit@<node> all",
          }
        : { text: `it has ${members} of three replicas, and the cluster has the nodes` };
    },
  }),
  seen({
    name: "dead-letters",
    severity: "error",
    title: "what the broker gives up on is dead-lettered, to a queue that is there",
    why: "at its delivery limit, or its TTL, a message is thrown away",
    fix: 'rabbitmqctl set_policy --vhost <vhost> --apply-to queues dead-letters \'^<name>$\' \'{"dead-letter-exchange":"","dead-letter-routing-key":"<name>.dead"}\', and declare <name>.dead',
    look(queue) {
      if (queue.letters || queue.settings["x-queue-type"] === "stream") return null;
      const quorum = queue.settings["x-queue-type"] === "quorum";
      const ends = quorum && limitOf(queue) !== -1;
      if (effective(queue, "dead-letter-exchange").value !== null)
        return queue.deadLettersArrive === false
          ? { text: "nothing takes its dead letters: their target is not there" }
          : null;
      if (!ends && effective(queue, "message-ttl").value === null) return null;
      // A policy may give it one.
      return queue.policies === null ? "unseen" : { text: "it has no dead-letter exchange" };
    },
  }),
  seen({
    name: "dead-letter-strategy",
    severity: "warning",
    title: "dead letters go at least once, with overflow reject-publish",
    why: "with at-most-once a dead letter is lost when its target cannot take it at that moment",
    fix: 'queueArguments: { "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish" }; ' + ANEW,
    look(queue) {
      if (queue.settings["x-queue-type"] !== "quorum" || effective(queue, "dead-letter-exchange").value === null)
        return null;
      const strategy = effective(queue, "dead-letter-strategy");
      const overflow = effective(queue, "overflow");
      if (strategy.value !== "at-least-once")
        return { text: `its strategy is ${JSON.stringify(strategy.value ?? "at-most-once")}` };
      return overflow.value === "reject-publish"
        ? null
        : {
            text: `at-least-once needs overflow "reject-publish" and it is ${JSON.stringify(overflow.value ?? "drop-head")} (${overflow.from}): the broker falls back to at-most-once, silently`,
            severity: "error",
          };
    },
  }),
  seen({
    name: "delivery-limit",
    severity: "warning",
    title: "the delivery limit is at least ten times the handlers' attempts",
    why: "the broker counts a consumer's crash against each message that was merely prefetched: innocents are given up",
    fix: "rabbitmq({ deliveryLimit: 200 }), or a policy with delivery-limit 200; " + ANEW,
    look(queue) {
      if (queue.settings["x-queue-type"] !== "quorum") return null;
      const limit = limitOf(queue);
      const { from } = effective(queue, "delivery-limit");
      if (limit === -1)
        return queue.ordered
          ? { text: "it has no limit (-1): what is returned goes to the back of the queue, and the topic is ordered" }
          : null;
      const least = queue.letters
        ? DEFAULT_DELIVERY_LIMIT + 1
        : Math.max(DEFAULT_DELIVERY_LIMIT + 1, LIMIT_TIMES * queue.attempts);
      return limit >= least ? null : { text: `it is ${limit} (${from}), and ${least} would be enough` };
    },
  }),
  seen({
    name: "overflow",
    severity: "error",
    title: "a full queue rejects, and drops nothing",
    why: "when it is full the broker throws away its oldest messages, which it had confirmed",
    fix: 'queueArguments: { "x-overflow": "reject-publish" }, or a policy with overflow reject-publish; ' + ANEW,
    look(queue) {
      const bound = boundOf(queue);
      if (bound === null) return null;
      const { value } = effective(queue, "overflow");
      const classic = queue.settings["x-queue-type"] !== "quorum";
      if (value === "reject-publish" || (value === "reject-publish-dlx" && classic)) return null;
      return { text: `${bound}, and its overflow is ${JSON.stringify(value ?? "drop-head")}` };
    },
  }),
  seen({
    name: "transactions",
    severity: "error",
    title: "transactions do not meet a quorum queue that can be full",
    why: "the broker answers commit-ok for messages that the full queue has rejected: they are lost without a word (rabbitmq-server issue 8966)",
    fix: 'mode: "confirm", or take max-length and max-length-bytes away',
    look(queue, { mode }) {
      const bound = mode === "tx" && queue.settings["x-queue-type"] === "quorum" ? boundOf(queue) : null;
      return bound === null ? null : { text: `${bound}, and mode is "tx"` };
    },
  }),
  seen({
    name: "message-ttl",
    severity: "error",
    title: "messages do not expire, unless they are dead-lettered",
    why: "what no consumer has taken in time is thrown away, confirmed as it was",
    fix: "take message-ttl away (rabbitmqctl clear_policy --vhost <vhost> <policy>), or give the queue a dead-letter exchange",
    look(queue) {
      const ttl = effective(queue, "message-ttl");
      if (ttl.value === null || effective(queue, "dead-letter-exchange").value !== null) return null;
      return { text: `messages live ${ttl.value} ms (${ttl.from}), and nothing takes what expires` };
    },
  }),
  seen({
    name: "queue-expires",
    severity: "error",
    title: "the queue does not expire",
    why: "when no consumer has been there for so long it is deleted, with all messages in it",
    fix: "take expires away (rabbitmqctl clear_policy --vhost <vhost> <policy>); " + ANEW,
    look(queue) {
      const { value, from } = effective(queue, "expires");
      return value === null ? null : { text: `it is deleted after ${value} ms without use (${from})` };
    },
  }),
  seen({
    name: "policy",
    severity: "warning",
    title: "no policy changes what was declared",
    why: "what the options say is not what the broker does",
    fix: "rabbitmqctl clear_policy --vhost <vhost> <policy> (an operator's: clear_operator_policy), or declare the same",
    look(queue) {
      if (queue.policies === null) return "unseen";
      const changed = Object.entries(queue.expected).flatMap(([setting, value]) => {
        if (!setting.startsWith("x-") || queue.settings[setting] !== value) return [];
        const now = effective(queue, setting.slice(2));
        return now.value === value ? [] : [`${now.from} makes ${setting} ${now.value} of ${value}`];
      });
      return changed.length === 0 ? null : { text: changed.join("; ") };
    },
  }),
  seen({
    name: "single-active-consumer",
    severity: "error",
    title: "the queue of an ordered topic has a single active consumer",
    why: "two consumers of it have messages of one key at the same time: their effects change places",
    fix: ANEW,
    look: ({ ordered, letters, settings: s }) =>
      ordered && !letters && s["x-single-active-consumer"] !== true
        ? { text: "the topic is ordered, and it has none" }
        : null,
  }),
  {
    of: "queue",
    name: "binding",
    severity: "error",
    title: "the topic's exchange leads to the queue",
    why: "the group gets nothing: messages are unroutable, or go to the other groups only",
    fix: 'start a consumer of the group (declare: true, "queues" or "bindings"), which binds it',
    look: ({ bound, settings }) => (settings !== null && bound === false ? { text: "it is not bound" } : null),
  },
  {
    of: "queue",
    name: "transient-messages",
    severity: "warning",
    title: "messages are persistent",
    why: "a restart of the broker loses those that are not. Tally's own always are: somebody else publishes to it as well",
    fix: "let the other publishers set delivery_mode 2",
    look: ({ transient }) =>
      transient === null || transient === 0 ? null : { text: `${transient} of its messages are not persistent` },
  },
  seen({
    name: "consumer-timeout",
    severity: "warning",
    title: "the broker's consumer time-out is longer than handlers may take",
    why: "the broker ends the channel of a slow handler: all that it holds is delivered again, and its effect comes twice or never",
    fix: "consumer({ processingDeadline, attempts }) that take less, or consumer_timeout = <ms> in rabbitmq.conf (rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).' shows it)",
    look(queue) {
      if (queue.holdsMs === 0) return null;
      const { value, from } = effective(queue, "consumer-timeout");
      const known = typeof value === "number";
      const limit = known ? value : DEFAULT_CONSUMER_TIMEOUT_MS;
      if (queue.holdsMs < limit) return known ? null : "unseen";
      return {
        text: `a delivery may be held for ${queue.holdsMs} ms, and the time-out is ${limit} ms (${known ? from : "the default: what the node has cannot be asked for"})`,
      };
    },
  }),
  {
    of: "broker",
    name: "heartbeat",
    severity: "warning",
    title: "heartbeats are on",
    why: "a half-open connection is noticed by nobody: publishes wait, and deliveries are held",
    fix: 'rabbitmq({ heartbeat: "5s" })',
    look: ({ heartbeat }) => (heartbeat === 0 ? { text: "they are off (heartbeat: 0)" } : null),
  },
  {
    of: "broker",
    name: "management",
    severity: "info",
    title: "the management API answers",
    why: "policies, replicas and bindings cannot be seen without it",
    fix: 'rabbitmq({ management: { url: "http://user:password@host:15672" } }), with a user that has the tag monitoring; rabbitmq-plugins enable rabbitmq_management',
    look: ({ management }) =>
      management === "" ? null : { text: management === null ? "it is not given" : `it gave no answer: ${management}` },
  },
];

/** How much a queue takes, in words; null: any number. */
function boundOf(queue: QueueState): string | null {
  const length = effective(queue, "max-length");
  const { value, from } = length.value === null ? effective(queue, "max-length-bytes") : length;
  if (value === null) return null;
  return `it holds at most ${value} ${length.value === null ? "bytes" : "messages"} (${from})`;
}

/** A check that wants to know what the queue is like. */
function seen(
  check: AuditCheck & {
    look(
      queue: QueueState & { readonly settings: Readonly<Record<string, string | number | boolean | null>> },
      world: World,
    ): Found;
  },
): Check {
  return {
    ...check,
    of: "queue",
    look: ({ settings, ...queue }, world) =>
      settings === null ? null : settings === "hidden" ? "unseen" : check.look({ ...queue, settings }, world),
  };
}

function limitOf(queue: QueueState): number {
  const { value } = effective(queue, "delivery-limit");
  return typeof value === "number" ? value : DEFAULT_DELIVERY_LIMIT;
}
