import type { ClientDuplexStream } from "@grpc/grpc-js";
import { type HostPort, raced, type Timer } from "@tallymq/core/spi";
import { Calls, type CallsOptions, type Writable } from "./calls.ts";
import {
  type Acked,
  type ClientPlan,
  type Driver,
  type HalfAt,
  type InMessage,
  type Link,
  type LinkEvents,
  type OutMessage,
  type Received,
  type Sent,
  type Status,
  StatusError,
} from "./driver.ts";
import { definition, duration, resource, service } from "./protocol.ts";
import { sendRequest } from "./send-request.ts";
import { incomingMessage, settings, statusOf } from "./wire.ts";

/** How long a goodbye may take. */
const GOODBYE_MS = 1_000;

export interface GrpcOptions extends CallsOptions {
  readonly endpoints: readonly HostPort[];
  readonly connectTimeout: number;
  readonly heartbeat: number;
}

/**
 * The protocol's own classes over a gRPC channel of ours.
 *
 * Nothing of the client's machinery runs: not its start-up (which waits for ever with two topics), its shutdown (which
 * leaves a telemetry stream that connects anew each second), its repeats, its load balancer that isolates a proxy for good,
 * its logger that writes into the home folder, its timers. What remains of the client's package is what it was generated
 * from.
 */
export class GrpcDriver implements Driver {
  readonly #o: GrpcOptions;
  /** The endpoint at which the next link is tried first. */
  #next: number;

  constructor(options: GrpcOptions) {
    this.#o = options;
    this.#next = Math.floor(options.random.unit() * options.endpoints.length);
  }

  async open(plan: ClientPlan, events: LinkEvents, signal: AbortSignal): Promise<Link> {
    const endpoint = this.#o.endpoints[this.#next++ % this.#o.endpoints.length]!;
    const link = new GrpcLink(this.#o, endpoint, plan, events);
    try {
      await raced(link.greet(), signal);
      return link;
    } catch (thrown) {
      void link.close();
      throw thrown;
    }
  }
}

class GrpcLink implements Link {
  readonly endpoint: string;
  readonly #o: GrpcOptions;
  #plan: ClientPlan;
  readonly #events: LinkEvents;
  readonly #calls: Calls;
  #telemetry: ClientDuplexStream<Writable, Command> | null = null;
  #heartbeat: Timer | null = null;
  #greeted = false;
  #over = false;
  #closed: Promise<void> | null = null;

  constructor(options: GrpcOptions, endpoint: HostPort, plan: ClientPlan, events: LinkEvents) {
    this.#o = options;
    this.#plan = plan;
    this.#events = events;
    this.endpoint = endpoint.name;
    this.#calls = new Calls(options, endpoint);
  }

  /** Resolves when the proxy has answered our settings with its own: who listens only after writing may miss that. */
  greet(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const late = this.#o.clock.after(this.#o.connectTimeout, () =>
      reject(new Error(`no answer of ${this.endpoint} within ${this.#o.connectTimeout} ms`)),
    );
    promise.then(
      () => late.cancel(),
      () => late.cancel(),
    );
    const stream = this.#calls.talk("Telemetry", service.TelemetryCommand);
    this.#telemetry = stream;
    const ended = (thrown: unknown): void => {
      reject(thrown);
      this.#lost(thrown);
    };
    // The listener stays for as long as the stream does: a late error without one would end the process.
    stream.on("error", ended);
    stream.on("end", () => ended(new Error(`${this.endpoint} has ended the session`)));
    stream.on("data", (command) => {
      const said = command.getStatus();
      if (command.getSettings() !== undefined) {
        if (!this.#greeted) this.#alive();
        this.#greeted = true;
        resolve();
      } else if (said !== undefined && !this.#greeted) reject(new StatusError(statusOf(said)));
      else if (command.getReconnectEndpointsCommand() !== undefined)
        ended(new Error(`${this.endpoint} asks its clients to connect anew`));
      const orphan = command.getRecoverOrphanedTransactionCommand();
      const half = orphan?.getMessage();
      if (orphan === undefined || half === undefined || this.#over) return;
      const message = incomingMessage(half);
      const { topic, messageId } = message;
      this.#events.asked({ topic, messageId, transactionId: orphan.getTransactionId() }, message);
    });
    this.#greet(stream);
    return promise;
  }

  #greet(stream: ClientDuplexStream<Writable, Command>): void {
    const command = new service.TelemetryCommand();
    command.setSettings(settings(this.#plan, this.#o));
    stream.write(command);
  }

  announce(topics: readonly string[]): void {
    if (this.#over || this.#telemetry === null) return;
    this.#plan = { kind: "producer", topics };
    this.#greet(this.#telemetry);
  }

  async send(messages: readonly OutMessage[]): Promise<Sent> {
    const request = sendRequest(messages);
    const answer = await this.#calls.unary(
      "SendMessage",
      { serializeBinary: () => request },
      service.SendMessageResponse,
    );
    return {
      status: statusOf(answer.getStatus()),
      entries: answer.getEntriesList().map((entry) => ({
        status: statusOf(entry.getStatus()),
        messageId: entry.getMessageId(),
        transactionId: entry.getTransactionId(),
      })),
    };
  }

  receive(ask: Parameters<Link["receive"]>[0], signal: AbortSignal): Promise<Received> {
    const { promise, resolve, reject } = Promise.withResolvers<Received>();
    const queue = new definition.MessageQueue();
    queue.setTopic(resource(ask.topic));
    queue.setId(-1);
    const filter = new definition.FilterExpression();
    filter.setType(definition.FilterType.TAG);
    filter.setExpression("*");
    const request = new service.ReceiveMessageRequest();
    request.setGroup(resource(ask.group));
    request.setMessageQueue(queue);
    request.setFilterExpression(filter);
    request.setBatchSize(ask.most);
    request.setInvisibleDuration(duration(ask.invisibleMs));
    request.setLongPollingTimeout(duration(ask.waitMs));
    request.setAutoRenew(false);
    const stream = this.#calls.many("ReceiveMessage", request, service.ReceiveMessageResponse, ask.waitMs);
    let status: Status = { code: 0, text: "no status came" };
    const messages: InMessage[] = [];
    const cancel = (): void => stream.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    if (signal.aborted) cancel();
    stream.on("data", (part) => {
      const said = part.getStatus();
      const message = part.getMessage();
      if (said !== undefined) status = statusOf(said);
      else if (message !== undefined) messages.push(incomingMessage(message));
    });
    // What has come is not thrown away for an end that was not clean.
    const done = (thrown: unknown): void => {
      signal.removeEventListener("abort", cancel);
      if (thrown === null || messages.length > 0) resolve({ status, messages });
      else reject(thrown);
    };
    stream.on("error", done);
    stream.on("end", () => done(null));
    return promise;
  }

  async ack(group: string, topic: string, entries: Parameters<Link["ack"]>[2]): Promise<Acked> {
    const request = new service.AckMessageRequest();
    request.setGroup(resource(group));
    request.setTopic(resource(topic));
    for (const { messageId, handle } of entries) request.addEntries().setMessageId(messageId).setReceiptHandle(handle);
    const answer = await this.#calls.unary("AckMessage", request, service.AckMessageResponse);
    return {
      status: statusOf(answer.getStatus()),
      entries: new Map(answer.getEntriesList().map((entry) => [entry.getReceiptHandle(), statusOf(entry.getStatus())])),
    };
  }

  async invisible(
    group: string,
    topic: string,
    { messageId, handle }: Parameters<Link["invisible"]>[2],
    ms: number,
  ): Promise<{ readonly status: Status; readonly handle: string }> {
    const request = new service.ChangeInvisibleDurationRequest();
    request.setGroup(resource(group));
    request.setTopic(resource(topic));
    request.setMessageId(messageId);
    request.setReceiptHandle(handle);
    request.setInvisibleDuration(duration(ms));
    const answer = await this.#calls.unary("ChangeInvisibleDuration", request, service.ChangeInvisibleDurationResponse);
    return { status: statusOf(answer.getStatus()), handle: answer.getReceiptHandle() };
  }

  async decide(half: HalfAt, decision: "commit" | "rollback", asked: boolean): Promise<Status> {
    const request = new service.EndTransactionRequest();
    request.setTopic(resource(half.topic));
    request.setMessageId(half.messageId);
    request.setTransactionId(half.transactionId);
    const { COMMIT, ROLLBACK } = definition.TransactionResolution;
    request.setResolution(decision === "commit" ? COMMIT : ROLLBACK);
    const { SOURCE_SERVER_CHECK, SOURCE_CLIENT } = definition.TransactionSource;
    request.setSource(asked ? SOURCE_SERVER_CHECK : SOURCE_CLIENT);
    return statusOf((await this.#calls.unary("EndTransaction", request, service.EndTransactionResponse)).getStatus());
  }

  async route(topic: string): Promise<Status> {
    const request = new service.QueryRouteRequest();
    request.setTopic(resource(topic));
    request.setEndpoints(settings(this.#plan, this.#o).getAccessPoint());
    return statusOf((await this.#calls.unary("QueryRoute", request, service.QueryRouteResponse)).getStatus());
  }

  close(): Promise<void> {
    this.#closed ??= this.#leave();
    return this.#closed;
  }

  async #leave(): Promise<void> {
    const connected = this.#greeted && !this.#over;
    this.#end();
    if (connected) {
      const request = new service.NotifyClientTerminationRequest();
      if (this.#plan.kind === "consumer") request.setGroup(resource(this.#plan.group));
      const goodbye = this.#calls.unary(
        "NotifyClientTermination",
        request,
        service.NotifyClientTerminationResponse,
        GOODBYE_MS,
      );
      await goodbye.catch(() => {});
    }
    this.#telemetry?.cancel();
    this.#calls.close();
  }

  /** A dead connection looks like a quiet one until something is asked over it: one question each few seconds. */
  #alive(): void {
    if (this.#over) return;
    this.#heartbeat = this.#o.clock.after(this.#o.heartbeat, () => {
      const request = new service.HeartbeatRequest();
      if (this.#plan.kind === "consumer") request.setGroup(resource(this.#plan.group));
      request.setClientType(clientType(this.#plan));
      this.#calls.unary("Heartbeat", request, service.HeartbeatResponse).then(
        () => this.#alive(),
        (thrown: unknown) => this.#lost(thrown),
      );
    });
  }

  #lost(thrown: unknown): void {
    if (this.#over) return;
    this.#end();
    this.#telemetry?.cancel();
    this.#calls.close();
    if (this.#greeted) this.#events.lost(thrown);
  }

  #end(): void {
    this.#over = true;
    this.#heartbeat?.cancel();
    this.#heartbeat = null;
  }
}

type Command = InstanceType<typeof service.TelemetryCommand>;

function clientType(plan: ClientPlan): number {
  return plan.kind === "producer" ? definition.ClientType.PRODUCER : definition.ClientType.SIMPLE_CONSUMER;
}
