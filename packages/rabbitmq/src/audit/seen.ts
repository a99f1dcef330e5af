import type { ExchangePlan } from "../plan.ts";
import type { Settings } from "../questions.ts";
import type { Management } from "./management.ts";
import type { QueueSubject } from "./subjects.ts";
import { effective, type Policy, type QueueState } from "./world.ts";

type Json = Readonly<Record<string, unknown>>;

/** What the management API shows of one virtual host. Its answers are not believed to be of any shape. */
export class Seen {
  readonly nodes: number | null;
  readonly #api: Management;
  readonly #at: string;
  readonly #policies: readonly (Policy & { readonly fits: (name: string, type: unknown) => boolean })[];

  private constructor(api: Management, vhost: string, nodes: number | null, policies: Seen["policies"]) {
    this.#api = api;
    this.#at = encodeURIComponent(vhost);
    this.nodes = nodes;
    this.#policies = policies;
  }

  /** @throws TallyError when it does not answer */
  static async open(api: Management, vhost: string, signal: AbortSignal): Promise<Seen> {
    const at = encodeURIComponent(vhost);
    const policies = list(await api.get(`/policies/${at}`, signal));
    // These are for administrators and monitors; whoever may not see them sees the rest.
    const operators = list(await api.get(`/operator-policies/${at}`, signal).catch(() => []));
    const nodes = list(await api.get("/nodes?columns=name,running", signal).catch(() => []));
    return new Seen(api, vhost, nodes.length === 0 ? null : nodes.length, [
      ...inOrder(policies, false),
      ...inOrder(operators, true),
    ]);
  }

  get policies(): readonly (Policy & { readonly fits: (name: string, type: unknown) => boolean })[] {
    return this.#policies;
  }

  async exchange({ name }: ExchangePlan, signal: AbortSignal): Promise<Settings | null> {
    const found = record(
      await this.#api.get(`/exchanges/${this.#at}/${encodeURIComponent(name)}?disable_stats=true`, signal),
    );
    return found === null ? null : { type: text(found["type"]), ...common(found) };
  }

  /** All of a queue's state but what is the subject's. */
  async queue(subject: QueueSubject, signal: AbortSignal): Promise<Partial<QueueState>> {
    const { name } = subject.plan;
    const at = `${this.#at}/${encodeURIComponent(name)}`;
    const found = record(await this.#api.get(`/queues/${at}?disable_stats=true&enable_queue_totals=true`, signal));
    if (found === null) return { settings: null };
    const type = text(found["type"]) ?? "classic";
    const settings: Settings = { ...common(found), exclusive: found["exclusive"] === true, "x-queue-type": type };
    const [users, operators] = [false, true].map((operator) =>
      this.#policies.filter((one) => one.operator === operator && one.fits(name, type)).slice(0, 1),
    );
    const policies = [...users!, ...operators!];
    const members = list(found["members"]).length;
    const state = { settings, policies };
    return {
      ...state,
      replicas: members === 0 ? null : { members, online: list(found["online"]).length },
      bound: subject.exchange === null ? null : await this.#leads(subject.exchange, at, signal),
      deadLettersArrive: await this.#arrives({ ...state, ...blank(subject) }, signal),
      transient: type === "classic" ? await this.#transient(at, signal) : null,
    };
  }

  async #leads(exchange: string, queue: string, signal: AbortSignal): Promise<boolean> {
    const [, name] = queue.split("/");
    const path = `/bindings/${this.#at}/e/${encodeURIComponent(exchange)}/q/${name}`;
    if (list(await this.#api.get(path, signal)).length > 0) return true;
    // By way of another exchange: that is not followed.
    return list(
      await this.#api.get(`/exchanges/${this.#at}/${encodeURIComponent(exchange)}/bindings/source`, signal),
    ).some((one) => record(one)?.["destination_type"] === "exchange");
  }

  async #arrives(queue: QueueState, signal: AbortSignal): Promise<boolean | null> {
    const { value: exchange } = effective(queue, "dead-letter-exchange");
    if (typeof exchange !== "string") return null;
    if (exchange === "") {
      const key = effective(queue, "dead-letter-routing-key").value;
      // Without a key each message's own is used, which may be anything.
      if (typeof key !== "string") return null;
      return (
        (await this.#api.get(`/queues/${this.#at}/${encodeURIComponent(key)}?disable_stats=true`, signal)) !== null
      );
    }
    return (
      list(await this.#api.get(`/exchanges/${this.#at}/${encodeURIComponent(exchange)}/bindings/source`, signal))
        .length > 0
    );
  }

  async #transient(at: string, signal: AbortSignal): Promise<number | null> {
    const found = record(await this.#api.get(`/queues/${at}?columns=messages,messages_persistent`, signal));
    const [all, kept] = [found?.["messages"], found?.["messages_persistent"]];
    return typeof all === "number" && typeof kept === "number" ? Math.max(0, all - kept) : null;
  }
}

function blank(subject: QueueSubject): Omit<QueueState, "settings" | "policies"> {
  const { plan, letters, ordered, holdsMs, attempts } = subject;
  const unknown = { replicas: null, bound: null, deadLettersArrive: null, transient: null };
  return { name: plan.name, expected: plan.arguments, letters, ordered, holdsMs, attempts, ...unknown };
}

/** The one with the highest priority first: no other of its kind applies. */
function inOrder(
  given: readonly unknown[],
  operator: boolean,
): readonly (Policy & { readonly fits: (name: string, type: unknown) => boolean })[] {
  return given
    .map(record)
    .filter((one) => one !== null)
    .toSorted((a, b) => Number(b["priority"] ?? 0) - Number(a["priority"] ?? 0))
    .map((one) => ({
      name: text(one["name"]) ?? "",
      operator,
      definition: record(one["definition"]) ?? {},
      fits: fitting(text(one["pattern"]) ?? "", text(one["apply-to"]) ?? "all"),
    }));
}

function fitting(pattern: string, to: string): (name: string, type: unknown) => boolean {
  let expression: RegExp | null = null;
  try {
    expression = new RegExp(pattern);
  } catch {
    // One that only Erlang understands: it is as if it did not apply.
  }
  return (name, type) =>
    expression?.test(name) === true && (to === "all" || to === "queues" || to === `${String(type)}_queues`);
}

function common(found: Json): Settings {
  const args: Record<string, string | number | boolean | null> = {};
  for (const [key, one] of Object.entries(record(found["arguments"]) ?? {}))
    if (typeof one === "string" || typeof one === "number" || typeof one === "boolean") args[key] = one;
  return { durable: found["durable"] === true, auto_delete: found["auto_delete"] === true, ...args };
}

function record(given: unknown): Json | null {
  return typeof given === "object" && given !== null && !Array.isArray(given) ? (given as Json) : null;
}

function list(given: unknown): readonly unknown[] {
  return Array.isArray(given) ? given : [];
}

function text(given: unknown): string | null {
  return typeof given === "string" ? given : null;
}
