import { Auditor } from "./audit/auditor.ts";
import type { Durability } from "./audit/report.ts";
import type { AuditSubject } from "./port/audit.ts";
import { atMost, leave } from "./clock.ts";
import { createConsumerBuilder, type WatchedConsumer } from "./consume/consumer.ts";
import type { ConsumerBuilder, ConsumerOptions, TxConsumerOptions } from "./consume/options.ts";
import { Members } from "./consume/members.ts";
import type { ConsumerPorts } from "./consume/ports.ts";
import { DeadLetterOffice } from "./dead-letters/office.ts";
import { describe, showGiven, TallyError } from "./error.ts";
import { createEvents, type MemoryPart } from "./events.ts";
import { HealthRoom } from "./health/health.ts";
import type { HealthPolicy } from "./health/options.ts";
import { BrokerHalves } from "./half/broker.ts";
import { Halves } from "./half/halves.ts";
import { randomId } from "./ids.ts";
import { CLOSE_BOUNDS, resolveTally, type TallyOptions } from "./options.ts";
import { MemoryBound } from "./memory.ts";
import { OUT_BYTES } from "./outbox/relay.ts";
import { createParked } from "./park/parked.ts";
import type { RowStore } from "./park/rows.ts";
import { Runners } from "./park/runners.ts";
import { nodePlatform, type Platform } from "./platform/node.ts";
import { resolveOptions } from "./policy.ts";
import { Publisher } from "./publish/publisher.ts";
import type { PublishPolicy } from "./publish/options.ts";
import type { Runtime } from "./runtime.ts";
import type { Transport } from "./port/transport.ts";
import type { InboxStore, OutboxStore, StoreHost } from "./stores.ts";
import type { Tally } from "./tally.ts";

/**
 * Opens a service's connection to a broker. Resolves when the first session is open, or when the first try has failed in a
 * way that waiting can mend (broker away): then it goes on trying, and publishes wait.
 * @param platform Clock, randomness and diagnostics; tests give their own.
 * @throws TallyError `bad-config`, `store`, `topology` (of `topics`), `unsafe` and `unsupported` (under `durability: "enforce"`), and
 * `unauthorized` or whatever else waiting cannot mend.
 */
export async function openTally<Tx = never>(
  options: TallyOptions<Tx>,
  platform: Platform = nodePlatform(),
): Promise<Tally<Tx>> {
  const o = resolveTally(options);
  const { clock, random } = platform;
  const events = createEvents(
    () => clock.wall(),
    (event) => platform.diagnose(event),
  );
  if (o.onEvent !== null) events.on(o.onEvent);
  const { service } = o;
  const run = randomId(random);
  const host = (what: string): StoreHost => ({
    clock,
    random,
    surfaced: (text) => events.emit({ type: "surfaced", what, text }),
  });
  let inbox: InboxStore<unknown> | null = null;
  let outbox: OutboxStore | null = null;
  let transport: Transport | null = null;
  const memory = new MemoryBound(events, o.memory.max);
  try {
    inbox = (await o.inbox?.openInbox(host("inbox"))) ?? null;
    outbox = (await o.outbox?.openOutbox(host("outbox"))) ?? null;
    transport = o.broker.open({ service, run, clock, random });
    if (o.durability === "enforce" && inbox !== null && transport.members === null)
      throw new TallyError(
        "unsupported",
        `openTally: durability "enforce" needs to know which inboxes a group has, and ${transport.name} cannot tell`,
      );
    memory.add("openTally", held(o.publish, transport, inbox, outbox));
  } catch (error) {
    // Open ones would keep their threads and their locks.
    await transport?.[Symbol.asyncDispose]();
    await inbox?.[Symbol.asyncDispose]();
    await outbox?.[Symbol.asyncDispose]();
    throw error;
  }
  const runtime: Runtime = {
    service,
    run,
    clock,
    random,
    events,
    transport,
    reconnect: o.reconnect,
    connectWithin: o.connectWithin,
  };
  const transactions = inbox?.transactions ?? null;
  const spill = { store: outbox, transactions: transactions?.outbox ?? null, policy: o.spill };
  const served = spill.store !== null || spill.transactions !== null;
  const publisher = new Publisher(runtime, o.publish, o.topics, served ? spill : null, transactions);
  const halves = new Halves({
    runtime,
    store: outbox?.halves ?? null,
    broker: transport.halfMessages === null ? null : new BrokerHalves(runtime, transport.halfMessages),
    publisher,
    deadlineMs: o.publish.deadline,
  });
  const { tally, auditor } = createTally<Tx>(runtime, publisher, halves, inbox, outbox, o.health, memory, o.durability);
  try {
    await publisher.first;
    if (publisher.refusal !== null) throw publisher.refusal;
    const names = new Set(o.topics.map(({ name }) => name));
    const subjects = publishedTo(publisher, inbox, outbox).filter(({ topic }) => names.has(topic.name));
    await auditor.start("openTally", subjects);
  } catch (error) {
    await tally.close({ within: 1 });
    throw error;
  }
  return tally;
}

function createTally<Tx>(
  runtime: Runtime,
  publisher: Publisher,
  halves: Halves,
  inbox: InboxStore<unknown> | null,
  outbox: OutboxStore | null,
  policy: HealthPolicy,
  memory: MemoryBound,
  durability: Durability,
): { readonly tally: Tally<Tx>; readonly auditor: Auditor } {
  const consumers = new Set<WatchedConsumer>();
  const members =
    inbox === null || durability === "off" || runtime.transport.members === null
      ? null
      : new Members(runtime, runtime.transport.members, inbox.id, durability);
  const auditor = new Auditor({
    clock: runtime.clock,
    events: runtime.events,
    destination: runtime.transport.name,
    port: runtime.transport.audit,
    durability,
    within: runtime.connectWithin,
    inbox,
    apart: (topic, group) => members?.apart(topic, group) ?? false,
    subjects: () => [...publishedTo(publisher, inbox, outbox), ...[...consumers].flatMap((one) => one.subjects())],
  });
  const ports: ConsumerPorts = {
    inbox,
    transacted: publisher.transacted,
    publish: (topic, body, options, own) => publisher.publish(topic, body, options, own),
    members,
    audit: (where, subjects) => auditor.start(where, subjects),
    memory,
    runners: new Runners(),
  };
  const rows: RowStore[] = [];
  if (outbox !== null) rows.push({ name: "outbox", store: outbox, changed: () => publisher.rowsChanged() });
  const published = inbox?.transactions?.outbox ?? null;
  if (published !== null) rows.push({ name: "inbox", store: published, changed: () => publisher.rowsChanged() });
  const parked = createParked(inbox, rows, ports.runners, runtime.events, assertOpen);
  const office = new DeadLetterOffice(runtime, inbox, ports.publish);
  const health = new HealthRoom({
    clock: runtime.clock,
    policy,
    isClosed: () => closing !== null,
    publisher: () => publisher.status(),
    subscriptions: () => [...consumers].flatMap((consumer) => consumer.status()),
    outboxes: rows.map(({ name, store }) => ({ name, store, takes: name === "outbox" })),
    inbox,
    halves: outbox?.halves ?? null,
    dropped: () => halves.dropped,
    audit: () => auditor.standing,
  });
  let closing: Promise<void> | null = null;

  async function close(within: number): Promise<void> {
    const limit = runtime.clock.now() + within;
    const left = (): number => Math.max(1, Math.ceil(limit - runtime.clock.now()));
    // Consumers first: their handlers may still publish, and what they publish still drains. One that fails to close must
    // not keep the rest open.
    const letters = atMost(runtime.clock, within, office.close());
    await Promise.allSettled([letters, ...[...consumers].map((consumer) => consumer.close({ within: left() }))]);
    await auditor.close();
    await halves.close(left());
    const abandoned = await publisher.close(left());
    const closed = async (what: string, resource: AsyncDisposable | null): Promise<void> => {
      const leaving = (async () => resource?.[Symbol.asyncDispose]())().catch((thrown: unknown) =>
        runtime.events.emit({ type: "surfaced", what, text: `did not close: ${describe(thrown)}` }),
      );
      await leave(runtime.clock, limit, leaving);
    };
    await closed(runtime.transport.name, runtime.transport);
    // Last, since all of the above may still write.
    await closed("inbox", inbox);
    await closed("outbox", outbox);
    runtime.events.emit({ type: "closed", abandoned });
  }

  function assertOpen(call: string): void {
    if (closing !== null) throw new TallyError("closed", `${call} after close()`);
  }

  const tally: Tally<Tx> = {
    service: runtime.service,
    run: runtime.run,
    traits: runtime.transport.traits,
    publish: (topic, body, options) => publisher.publish(topic, body, options),
    publishMany: async (topic, entries, shared) => {
      if (!Array.isArray(entries))
        throw new TallyError("bad-config", `publishMany: entries must be a list; got ${showGiven(entries)}`);
      return await Promise.all(
        entries.map((entry) => {
          // What is no entry at all has no body, and gets the error for that: the others are not to suffer for it.
          const { body, ...own } = entry ?? {};
          return publisher.publish(topic, body, { ...own, ...shared }).catch((error: TallyError) => error);
        }),
      );
    },
    consumer(group: string, options?: ConsumerOptions | TxConsumerOptions): ConsumerBuilder<never> {
      assertOpen("consumer()");
      const started = (consumer: WatchedConsumer): void => {
        assertOpen("start()"); // the builder may be older than the close
        consumers.add(consumer);
      };
      return createConsumerBuilder(
        runtime,
        ports,
        group,
        options,
        started,
        (consumer) => void consumers.delete(consumer),
      ) as ConsumerBuilder<never>;
    },
    parked,
    deadLetters(topic, group) {
      assertOpen("deadLetters()");
      return office.of(topic, group);
    },
    health: () => health.look(),
    audit: async () => {
      assertOpen("audit()");
      return await auditor.audit();
    },
    half(name, options) {
      assertOpen("half()");
      return halves.declare(name, options);
    },
    on: (listener) => runtime.events.on(listener),
    counters: () => runtime.events.counters(),
    close(options) {
      try {
        return (closing ??= close(resolveOptions("close", options, CLOSE_BOUNDS).within));
      } catch (thrown) {
        return Promise.reject(thrown);
      }
    },
    async [Symbol.asyncDispose]() {
      await this.close();
    },
  };
  return { tally, auditor };
}

/** For the audit: what is published to so far. */
function publishedTo(
  { topics }: Publisher,
  inbox: InboxStore<unknown> | null,
  outbox: OutboxStore | null,
): readonly AuditSubject[] {
  const stores = outbox !== null || (inbox?.transactions ?? null) !== null;
  return topics.map(({ plan, outboxMs }) => ({
    topic: plan,
    group: null,
    holdsMs: 0,
    attempts: 0,
    outboxMs: stores ? outboxMs : 0,
    remembersMs: null,
  }));
}

/** What is held before there is a consumer. */
function held(
  { windowBytes }: PublishPolicy,
  { traits }: Transport,
  inbox: InboxStore<unknown> | null,
  outbox: OutboxStore | null,
): readonly MemoryPart[] {
  return [
    // One message is always let in, however large.
    { what: "publish window", bytes: Math.max(windowBytes, traits.maxBytes) },
    // Rows on their way into it are copied once more, for its thread; those out of it are let into the window beyond its bound.
    ...(outbox === null ? [] : [{ what: "outbox", bytes: outbox.bufferBytes + windowBytes + OUT_BYTES }]),
    ...(inbox === null ? [] : [{ what: "inbox", bytes: inbox.bufferBytes + relayed(inbox) }]),
  ];
}

/** What the relay of its transactions' rows takes. */
function relayed({ transactions }: InboxStore<unknown>): number {
  return transactions === null ? 0 : OUT_BYTES;
}
