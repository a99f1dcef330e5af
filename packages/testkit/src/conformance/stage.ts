import assert from "node:assert/strict";
import type { Host, Receiver, Sender, TopicPlan, Transport } from "@tallymq/core/spi";
import type { ConformanceCase, Need, Rig } from "./case.ts";
import { testHost } from "./host.ts";
import { Messages } from "./messages.ts";
import { TestReceiver } from "./receiving.ts";
import { TestSender } from "./sending.ts";
import { staged } from "./staged.ts";
import { eventually, pause, Watch, within } from "./wait.ts";

/** A case at the level of the port: a transport alone, without core's policy. */
export function portCase(name: string, needs: readonly Need[], body: (stage: Stage) => Promise<void>): ConformanceCase {
  return staged(name, needs, (rig) => new Stage(rig), body);
}

/** Where a port case plays: everything opened here is observed, disposed of at the end, and then checked. */
export class Stage {
  readonly rig: Rig;
  readonly watch: Watch;
  readonly #peers: Peer[] = [];
  #main: Peer | null = null;

  constructor(rig: Rig) {
    this.rig = rig;
    this.watch = new Watch(rig.limitMs);
  }

  /** One transport of its own: what one process would have. */
  peer(service?: string): Peer {
    const peer = new Peer(this, testHost(service));
    this.#peers.push(peer);
    return peer;
  }

  /** The transport that most cases get by with. */
  get main(): Peer {
    return (this.#main ??= this.peer());
  }

  plan(stem: string, given: { readonly ordered?: boolean; readonly groups?: readonly string[] } = {}): TopicPlan {
    return { name: this.rig.topic(stem), ordered: given.ordered ?? false, groups: given.groups ?? ["g"] };
  }

  /** A topic that is declared, with one group `g` if not told otherwise. */
  async topic(
    stem: string,
    given: { readonly ordered?: boolean; readonly groups?: readonly string[] } = {},
  ): Promise<TopicPlan> {
    const plan = this.plan(stem, given);
    await this.main.declare(plan);
    return plan;
  }

  /** A topic whose copies may be delayed by a few seconds. */
  async delayed(stem: string, given: { readonly groups?: readonly string[] } = {}): Promise<TopicPlan> {
    const plan = await this.topic(stem, given);
    await this.main.declareDelays(plan, 8_000);
    return plan;
  }

  async quiet(): Promise<void> {
    await pause(this.rig.quietMs);
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#peers.map((peer) =>
        within(this.rig.limitMs, "a transport with its sessions to be disposed of", peer.dispose()),
      ),
    );
    for (const peer of this.#peers) peer.check();
  }
}

/** One transport, its messages and its sessions. */
export class Peer {
  readonly host: Host;
  readonly transport: Transport;
  readonly messages: Messages;
  readonly #stage: Stage;
  readonly #senders: TestSender[] = [];
  readonly #receivers: TestReceiver[] = [];

  constructor(stage: Stage, host: Host) {
    this.#stage = stage;
    this.host = host;
    this.transport = stage.rig.broker().open(host);
    this.messages = new Messages(host.service, host.run);
  }

  async declare(...plans: readonly TopicPlan[]): Promise<void> {
    const declared = this.transport.admin.declare(plans, this.#signal());
    await within(this.#stage.rig.limitMs, "declare to end", declared);
  }

  async declareDelays(plan: TopicPlan, upToMs: number): Promise<void> {
    const declared = this.transport.admin.declareDelays(plan, upToMs, this.#signal());
    await within(this.#stage.rig.limitMs, "declareDelays to end", declared);
  }

  async backlog(plan: TopicPlan, group = "g"): Promise<number> {
    return await this.transport.admin.backlog(plan.name, group, this.#signal());
  }

  /** Counters of brokers may lag behind. */
  async backlogIs(expected: number, plan: TopicPlan, group = "g"): Promise<void> {
    await eventually(
      this.#stage.rig.limitMs,
      `a backlog of ${expected}`,
      () => this.backlog(plan, group),
      (n) => n === expected,
    );
  }

  async sender(): Promise<TestSender> {
    const sender = new TestSender(this.#stage.watch);
    const opening = this.transport.openSender(sender.events, this.#signal());
    sender.use(await this.#opened<Sender>("sender", opening), this.transport.traits);
    this.#senders.push(sender);
    return sender;
  }

  async receiver(
    topic: TopicPlan,
    given: { readonly group?: string; readonly credit?: number; readonly auto?: boolean } = {},
  ): Promise<TestReceiver> {
    const receiver = new TestReceiver(this.#stage.watch, given.auto ?? false);
    const subscription = {
      topic,
      group: given.group ?? "g",
      credit: given.credit ?? 100,
      consumer: `consumer-${this.#receivers.length + 1}`,
    };
    const opening = this.transport.openReceiver(subscription, receiver.events, this.#signal());
    receiver.use(await this.#opened<Receiver>("receiver", opening));
    this.#receivers.push(receiver);
    return receiver;
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#senders, ...this.#receivers].filter((s) => !s.disposed).map((s) => s.dispose()));
    await this.transport[Symbol.asyncDispose]();
  }

  check(): void {
    for (const session of [...this.#senders, ...this.#receivers]) session.check();
    assert.equal(this.transport.name.length > 0, true, "expected a transport with a name");
  }

  async #opened<S>(what: string, opening: Promise<S>): Promise<S> {
    return await within(this.#stage.rig.limitMs, `a ${what} to open`, opening);
  }

  #signal(): AbortSignal {
    return AbortSignal.timeout(this.#stage.rig.limitMs);
  }
}
