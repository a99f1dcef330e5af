import { type AuditFinding, type AuditPort, type AuditSubject, describe } from "@tallymq/core/spi";
import type { RabbitConnection } from "../connection.ts";
import { vhostOf } from "../endpoint.ts";
import type { ResolvedOptions } from "../options.ts";
import { type ExchangePlan, Mapping } from "../plan.ts";
import { type Answer, askExchange, askQueue, type Opener, type Settings } from "../questions.ts";
import { judge } from "./judge.ts";
import { Management } from "./management.ts";
import { Seen } from "./seen.ts";
import { type QueueSubject, thingsOf } from "./subjects.ts";
import type { ExchangeState, QueueState, World } from "./world.ts";

/**
 * The audit of RabbitMQ: what the management API shows, where it is given and answers; else what the broker answers over
 * AMQP (questions.ts), which has no words for policies, replicas and bindings.
 */
export class RabbitAudit implements AuditPort {
  readonly #options: ResolvedOptions;
  readonly #mapping: Mapping;
  readonly #connection: (signal: AbortSignal) => Promise<RabbitConnection>;

  constructor(options: ResolvedOptions, connection: (signal: AbortSignal) => Promise<RabbitConnection>) {
    this.#options = options;
    this.#mapping = new Mapping(options);
    this.#connection = connection;
  }

  async look(subjects: readonly AuditSubject[], signal: AbortSignal): Promise<readonly AuditFinding[]> {
    return judge(await this.#see(subjects, signal));
  }

  async #see(subjects: readonly AuditSubject[], signal: AbortSignal): Promise<World> {
    const { name, urls, management: settings, heartbeat, mode } = this.#options;
    const vhost = vhostOf(urls[0]!);
    let seen: Seen | null = null;
    let management: string | null = null;
    if (settings !== null) {
      try {
        seen = await Seen.open(new Management(settings), vhost, signal);
        management = "";
      } catch (thrown) {
        signal.throwIfAborted();
        management = describe(thrown);
      }
    }
    const open: Opener = async () => await (await this.#connection(signal)).channel(signal);
    const things = thingsOf(this.#mapping, subjects);
    const exchanges: ExchangeState[] = [];
    for (const { plan, made } of things.exchanges) {
      const known = seen === null ? await asked(plan, made, open) : await seen.exchange(plan, signal);
      exchanges.push({ name: plan.name, type: plan.type, settings: known });
    }
    const queues: QueueState[] = [];
    for (const one of things.queues) queues.push(await queueState(one, open, seen, signal));
    return { destination: name, vhost, exchanges, queues, nodes: seen?.nodes ?? null, management, heartbeat, mode };
  }
}

async function queueState(
  subject: QueueSubject,
  open: Opener,
  seen: Seen | null,
  signal: AbortSignal,
): Promise<QueueState> {
  const { plan, letters, ordered, holdsMs, attempts } = subject;
  const state: QueueState = {
    name: plan.name,
    settings: null,
    expected: plan.arguments,
    letters,
    ordered,
    policies: null,
    replicas: null,
    bound: null,
    deadLettersArrive: null,
    transient: null,
    holdsMs,
    attempts,
  };
  if (seen !== null) return { ...state, ...(await seen.queue(subject, signal)) };
  const expected = { durable: true, auto_delete: false, ...plan.arguments };
  return { ...state, settings: settingsOf(expected, await askQueue(open, plan)) };
}

async function asked(plan: ExchangePlan, made: boolean, open: Opener): Promise<Settings | null | "hidden"> {
  const expected = { type: plan.type, durable: true, auto_delete: false };
  // Each question about an exchange is a line in the broker's log.
  if (made) return expected;
  return settingsOf(expected, await askExchange(open, plan));
}

function settingsOf(expected: Settings, answer: Answer): Settings | null | "hidden" {
  if (answer.is === "missing") return null;
  if (answer.is === "hidden") return "hidden";
  return { ...expected, ...Object.fromEntries(answer.differences.map(({ setting, got }) => [setting, got])) };
}
