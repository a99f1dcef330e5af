import {
  type handleUnaryCall,
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerWritableStream,
} from "@grpc/grpc-js";
import definition from "rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb.js";
import grpc from "rocketmq-client-nodejs/proto/apache/rocketmq/v2/service_grpc_pb.js";
import service from "rocketmq-client-nodejs/proto/apache/rocketmq/v2/service_pb.js";

export { definition, service };

type Command = InstanceType<typeof service.TelemetryCommand>;
type Telemetry = ServerDuplexStream<Command, Command>;
type Received = InstanceType<typeof service.ReceiveMessageResponse>;
type Message = InstanceType<typeof definition.Message>;

export function fine(): InstanceType<typeof definition.Status> {
  const status = new definition.Status();
  status.setCode(definition.Code.OK);
  return status;
}

/** A proxy that says what the test has it say: real gRPC, on a port of this machine. */
export class FakeProxy implements AsyncDisposable {
  readonly telemetry: Telemetry[] = [];
  /** What clients have said of themselves. */
  readonly settings: InstanceType<typeof definition.Settings>[] = [];
  /** Requests with messages; `answer` says what becomes of them. */
  readonly sends: (readonly Message[])[] = [];
  /** Decisions of half messages. */
  readonly decisions: InstanceType<typeof service.EndTransactionRequest>[] = [];
  readonly heartbeats: { answer(): void }[] = [];
  goodbyes = 0;
  /** When a client has come, before it has said a word. */
  greet: (stream: Telemetry) => void = (stream) => void stream.write(settingsCommand());
  answer: (reply: sendUnaryData<InstanceType<typeof service.SendMessageResponse>>) => void = () => {};
  /** Messages of the next answer to a consumer. */
  messages: readonly Message[] = [];
  readonly #server: Server = new Server({ "grpc.max_send_message_length": -1 });
  #port = 0;

  async start(port = 0): Promise<this> {
    const unary = <Q, A>(reply: (request: Q, done: (answer: A) => void) => void): handleUnaryCall<Q, A> => {
      return (call, done) => reply(call.request, (answer) => done(null, answer));
    };
    this.#server.addService(grpc.MessagingServiceService, {
      telemetry: (stream: Telemetry) => {
        this.telemetry.push(stream);
        stream.on("error", () => {});
        stream.on("data", (command) => void this.settings.push(command.getSettings()!));
        this.greet(stream);
      },
      heartbeat: unary((_, done) => {
        const answer = new service.HeartbeatResponse();
        answer.setStatus(fine());
        this.heartbeats.push({ answer: () => done(answer) });
      }),
      sendMessage: (
        call: { readonly request: InstanceType<typeof service.SendMessageRequest> },
        reply: sendUnaryData<InstanceType<typeof service.SendMessageResponse>>,
      ) => {
        this.sends.push(call.request.getMessagesList());
        this.answer(reply);
      },
      receiveMessage: (stream: ServerWritableStream<unknown, Received>) => {
        for (const message of this.messages) {
          const part = new service.ReceiveMessageResponse();
          part.setMessage(message);
          stream.write(part);
        }
        const end = new service.ReceiveMessageResponse();
        end.setStatus(fine());
        stream.write(end);
        stream.end();
      },
      endTransaction: unary((request: InstanceType<typeof service.EndTransactionRequest>, done) => {
        this.decisions.push(request);
        const answer = new service.EndTransactionResponse();
        answer.setStatus(fine());
        done(answer);
      }),
      notifyClientTermination: unary((_, done) => {
        this.goodbyes++;
        done(new service.NotifyClientTerminationResponse());
      }),
    });
    this.#port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return this;
  }

  get port(): number {
    return this.#port;
  }

  /** Gone, with all connections. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    return Promise.resolve();
  }
}

export function settingsCommand(): Command {
  const command = new service.TelemetryCommand();
  command.setSettings(new definition.Settings());
  return command;
}

export function message(
  body: Uint8Array,
  digest: { readonly type: number; readonly checksum: string } | null,
): Message {
  const system = new definition.SystemProperties();
  system.setMessageId("01");
  system.setReceiptHandle("handle");
  if (digest !== null) {
    const said = new definition.Digest();
    said.setType(digest.type);
    said.setChecksum(digest.checksum);
    system.setBodyDigest(said);
  }
  const found = new definition.Message();
  found.setSystemProperties(system);
  found.setBody(body);
  return found;
}
