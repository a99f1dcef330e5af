import {
  ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  Metadata,
} from "@grpc/grpc-js";
import type { Clock, HostPort, Random, ResolvedTls } from "@tallymq/core/spi";
import type { ResolvedCredentials } from "../options.ts";
import { sign, timeOfRequest } from "./protocol.ts";
import { targetOf } from "./target.ts";

const SERVICE = "/apache.rocketmq.v2.MessagingService/";
const CLIENT_VERSION = "tally";

export interface CallsOptions {
  readonly service: string;
  readonly tls: ResolvedTls | null;
  readonly credentials: ResolvedCredentials | null;
  /** Milliseconds that a call may take, if it is not said otherwise. */
  readonly requestTimeout: number;
  readonly clock: Clock;
  readonly random: Random;
}

export interface Writable {
  serializeBinary(): Uint8Array;
}
interface Readable<A> {
  deserializeBinary(bytes: Uint8Array): A;
}

/** The calls of one client over one connection: who it is, and until when it waits, stand in each of them. */
export class Calls {
  readonly #o: CallsOptions;
  readonly #client: Client;
  readonly #clientId: string;

  constructor(options: CallsOptions, endpoint: HostPort) {
    this.#o = options;
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

  /** One answer. */
  unary<A>(method: string, request: Writable, answer: Readable<A>, ms: number = this.#o.requestTimeout): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest<Writable, A>(
        `${SERVICE}${method}`,
        write,
        reader(answer),
        request,
        this.#headers(),
        this.#until(ms),
        (error, value) =>
          error === null && value !== undefined ? resolve(value) : reject(error ?? new Error("no answer")),
      );
    });
  }

  /** Answers until the server has no more. @param ms Beyond `requestTimeout` */
  many<A>(method: string, request: Writable, answer: Readable<A>, ms: number): ClientReadableStream<A> {
    const until = this.#until(ms + this.#o.requestTimeout);
    return this.#client.makeServerStreamRequest(
      `${SERVICE}${method}`,
      write,
      reader(answer),
      request,
      this.#headers(),
      until,
    );
  }

  /** Both sides say what they like, for as long as the connection stands. */
  talk<A>(method: string, answer: Readable<A>): ClientDuplexStream<Writable, A> {
    return this.#client.makeBidiStreamRequest(`${SERVICE}${method}`, write, reader(answer), this.#headers(), {});
  }

  close(): void {
    this.#client.close();
  }

  #until(ms: number): { readonly deadline: number } {
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

/** A view of what was written, not a copy. */
function write(message: Writable): Buffer {
  const { buffer, byteOffset, byteLength } = message.serializeBinary();
  return Buffer.from(buffer, byteOffset, byteLength);
}

function reader<A>(type: Readable<A>): (bytes: Buffer) => A {
  return (bytes) => type.deserializeBinary(bytes);
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
