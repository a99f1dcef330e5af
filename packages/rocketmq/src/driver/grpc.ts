// Over 300 lines: one connection and its calls; each call is a request of the protocol put together and an answer taken apart.
import {
  type CallOptions,
  ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  Metadata,
} from "@grpc/grpc-js";
import { type Clock, type HostPort, raced, type Random, type ResolvedTls, type Timer } from "@tallymq/core/spi";
import type { ResolvedCredentials } from "../options.ts";
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
import { definition, duration, resource, service, sign, timeOfRequest } from "./protocol.ts";
import { sendRequest } from "./send-request.ts";
import { targetOf } from "./target.ts";
import { incomingMessage, settings, statusOf } from "./wire.ts";

const SERVICE = "/apache.rocketmq.v2.MessagingService/";
/** How long a goodbye may take. */
const GOODBYE_MS = 1_000;
const CLIENT_VERSION = "tally";

export interface GrpcOptions {
  readonly endpoints: readonly HostPort[];
  readonly service: string;
  readonly tls: ResolvedTls | null;
  readonly credentials: ResolvedCredentials | null;
  readonly connectTimeout: number;
  readonly requestTimeout: number;
  readonly heartbeat: number;
  readonly clock: Clock;
  readonly random: Random;
}

interface Writable {
  serializeBinary(): Uint8Array;
}
interface Readable<A> {
  deserializeBinary(bytes: Uint8Array): A;
}

/** A view of what was written, not a copy. */
function write(message: Writable): Buffer {
  const { buffer, byteOffset, byteLength } = message.serializeBinary();
  return Buffer.from(buffer, byteOffset, byteLength);
}
const reader =
  <A>(type: Readable<A>) =>
  (bytes: Buffer): A =>
    type.deserializeBinary(bytes);

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
  readonly #client: Client;
  readonly #clientId: string;
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
    // Unique also across worker threads, which the client's own ids are not.
    this.#clientId = `${options.service}@${hex(options.random.bytes(8))}`;
    this.#client = new Client(targetOf(endpoint), channelCredentials(options.tls), {
      // A body of the largest size would otherwise be accepted and never come out again: the default is 4 MiB for all of an answer.
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      // A second copy of a request is core's to make.
      "grpc.enable_retries": 0,
      // A session's connection is its own, and so is what it has found out about it.
      "grpc.use_local_subchannel_pool": 1,
      ...(options.tls?.servername === undefined ? {} : { "grpc.ssl_target_name_override": options.tls.servername }),
    });
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
    const stream = this.#client.makeBidiStreamRequest<Writable, Command>(
      `${SERVICE}Telemetry`,
      write,
      reader(service.TelemetryCommand),
      this.#headers(),
      {},
    );
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
    const answer = await this.#unary("SendMessage", { serializeBinary: () => request }, service.SendMessageResponse);
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
    const stream: ClientReadableStream<Answer> = this.#client.makeServerStreamRequest(
      `${SERVICE}ReceiveMessage`,
      write,
      reader(service.ReceiveMessageResponse),
      request,
      this.#headers(),
      this.#deadline(ask.waitMs + this.#o.requestTimeout),
    );
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
    const answer = await this.#unary("AckMessage", request, service.AckMessageResponse);
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
    const answer = await this.#unary("ChangeInvisibleDuration", request, service.ChangeInvisibleDurationResponse);
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
    return statusOf((await this.#unary("EndTransaction", request, service.EndTransactionResponse)).getStatus());
  }

  async route(topic: string): Promise<Status> {
    const request = new service.QueryRouteRequest();
    request.setTopic(resource(topic));
    request.setEndpoints(settings(this.#plan, this.#o).getAccessPoint());
    return statusOf((await this.#unary("QueryRoute", request, service.QueryRouteResponse)).getStatus());
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
      const goodbye = this.#unary(
        "NotifyClientTermination",
        request,
        service.NotifyClientTerminationResponse,
        GOODBYE_MS,
      );
      await goodbye.catch(() => {});
    }
    this.#telemetry?.cancel();
    this.#client.close();
  }

  /** A dead connection looks like a quiet one until something is asked over it: one question each few seconds. */
  #alive(): void {
    if (this.#over) return;
    this.#heartbeat = this.#o.clock.after(this.#o.heartbeat, () => {
      const request = new service.HeartbeatRequest();
      if (this.#plan.kind === "consumer") request.setGroup(resource(this.#plan.group));
      request.setClientType(clientType(this.#plan));
      this.#unary("Heartbeat", request, service.HeartbeatResponse).then(
        () => this.#alive(),
        (thrown: unknown) => this.#lost(thrown),
      );
    });
  }

  #lost(thrown: unknown): void {
    if (this.#over) return;
    this.#end();
    this.#telemetry?.cancel();
    this.#client.close();
    if (this.#greeted) this.#events.lost(thrown);
  }

  #end(): void {
    this.#over = true;
    this.#heartbeat?.cancel();
    this.#heartbeat = null;
  }

  #unary<A>(method: string, request: Writable, answer: Readable<A>, ms = this.#o.requestTimeout): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest<Writable, A>(
        `${SERVICE}${method}`,
        write,
        reader(answer),
        request,
        this.#headers(),
        this.#deadline(ms),
        (error, value) =>
          error === null && value !== undefined ? resolve(value) : reject(error ?? new Error("no answer")),
      );
    });
  }

  #deadline(ms: number): CallOptions {
    return { deadline: this.#o.clock.wall() + ms };
  }

  #headers(): Metadata {
    const headers = new Metadata();
    const now = timeOfRequest();
    headers.set("x-mq-protocol", "v2");
    headers.set("x-mq-client-id", this.#clientId);
    // The name that the server has for a client of this kind; it knows no Node.
    headers.set("x-mq-language", "HTTP");
    headers.set("x-mq-client-version", CLIENT_VERSION);
    headers.set("x-mq-date-time", now);
    headers.set("x-mq-request-id", hex(this.#o.random.bytes(16)));
    const { credentials } = this.#o;
    if (credentials !== null) {
      if (credentials.securityToken !== null) headers.set("x-mq-session-token", credentials.securityToken);
      const signature = sign(credentials.secretKey, now);
      headers.set(
        "authorization",
        `MQv2-HMAC-SHA1 Credential=${credentials.accessKey}, SignedHeaders=x-mq-date-time, Signature=${signature}`,
      );
    }
    return headers;
  }
}

type Command = InstanceType<typeof service.TelemetryCommand>;
type Answer = InstanceType<typeof service.ReceiveMessageResponse>;

function clientType(plan: ClientPlan): number {
  return plan.kind === "producer" ? definition.ClientType.PRODUCER : definition.ClientType.SIMPLE_CONSUMER;
}

function channelCredentials(tls: ResolvedTls | null): ChannelCredentials {
  if (tls === null) return ChannelCredentials.createInsecure();
  const bytes = (pem: string | Uint8Array): Buffer => Buffer.from(pem as string);
  const orNull = (pem: string | Uint8Array | undefined): Buffer | null => (pem === undefined ? null : bytes(pem));
  const { ca } = tls;
  const roots = ca === undefined ? null : Buffer.concat([ca].flat().map((one) => bytes(one as string)));
  return ChannelCredentials.createSsl(roots, orNull(tls.key), orNull(tls.cert), { rejectUnauthorized: true });
}

function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}
