import { ByteReader, ByteWriter } from "./bytes.ts";
import { readTable, writeTable } from "./fields.ts";
import type { DecodedTable, FieldTable } from "./fields.ts";

type Kind = "bit" | "octet" | "short" | "long" | "longlong" | "shortstr" | "longstr" | "table";
export type Argument = boolean | number | bigint | string | FieldTable | Uint8Array;
export type Arguments = Readonly<Record<string, Argument | undefined>>;

// The methods of AMQP 0-9-1 that a client and a server of one connection can say to each other, with RabbitMQ's own
// (confirm, basic.nack, connection.blocked, exchange.bind): class, method, arguments. `_` is reserved: zero when sent.
const TABLE = `
connection.start             10 10 versionMajor:octet versionMinor:octet serverProperties:table mechanisms:longstr locales:longstr
connection.start-ok          10 11 clientProperties:table mechanism:shortstr response:longstr locale:shortstr
connection.secure            10 20 challenge:longstr
connection.secure-ok         10 21 response:longstr
connection.tune              10 30 channelMax:short frameMax:long heartbeat:short
connection.tune-ok           10 31 channelMax:short frameMax:long heartbeat:short
connection.open              10 40 virtualHost:shortstr _:shortstr _:bit
connection.open-ok           10 41 _:shortstr
connection.close             10 50 replyCode:short replyText:shortstr classId:short methodId:short
connection.close-ok          10 51
connection.blocked           10 60 reason:shortstr
connection.unblocked         10 61
connection.update-secret     10 70 newSecret:longstr reason:shortstr
connection.update-secret-ok  10 71
channel.open                 20 10 _:shortstr
channel.open-ok              20 11 _:longstr
channel.flow                 20 20 active:bit
channel.flow-ok              20 21 active:bit
channel.close                20 40 replyCode:short replyText:shortstr classId:short methodId:short
channel.close-ok             20 41
exchange.declare             40 10 _:short exchange:shortstr type:shortstr passive:bit durable:bit autoDelete:bit internal:bit nowait:bit arguments:table
exchange.declare-ok          40 11
exchange.delete              40 20 _:short exchange:shortstr ifUnused:bit nowait:bit
exchange.delete-ok           40 21
exchange.bind                40 30 _:short destination:shortstr source:shortstr routingKey:shortstr nowait:bit arguments:table
exchange.bind-ok             40 31
exchange.unbind              40 40 _:short destination:shortstr source:shortstr routingKey:shortstr nowait:bit arguments:table
exchange.unbind-ok           40 51
queue.declare                50 10 _:short queue:shortstr passive:bit durable:bit exclusive:bit autoDelete:bit nowait:bit arguments:table
queue.declare-ok             50 11 queue:shortstr messageCount:long consumerCount:long
queue.bind                   50 20 _:short queue:shortstr exchange:shortstr routingKey:shortstr nowait:bit arguments:table
queue.bind-ok                50 21
queue.purge                  50 30 _:short queue:shortstr nowait:bit
queue.purge-ok               50 31 messageCount:long
queue.delete                 50 40 _:short queue:shortstr ifUnused:bit ifEmpty:bit nowait:bit
queue.delete-ok              50 41 messageCount:long
queue.unbind                 50 50 _:short queue:shortstr exchange:shortstr routingKey:shortstr arguments:table
queue.unbind-ok              50 51
basic.qos                    60 10 prefetchSize:long prefetchCount:short global:bit
basic.qos-ok                 60 11
basic.consume                60 20 _:short queue:shortstr consumerTag:shortstr noLocal:bit noAck:bit exclusive:bit nowait:bit arguments:table
basic.consume-ok             60 21 consumerTag:shortstr
basic.cancel                 60 30 consumerTag:shortstr nowait:bit
basic.cancel-ok              60 31 consumerTag:shortstr
basic.publish                60 40 _:short exchange:shortstr routingKey:shortstr mandatory:bit immediate:bit
basic.return                 60 50 replyCode:short replyText:shortstr exchange:shortstr routingKey:shortstr
basic.deliver                60 60 consumerTag:shortstr deliveryTag:longlong redelivered:bit exchange:shortstr routingKey:shortstr
basic.get                    60 70 _:short queue:shortstr noAck:bit
basic.get-ok                 60 71 deliveryTag:longlong redelivered:bit exchange:shortstr routingKey:shortstr messageCount:long
basic.get-empty              60 72 _:shortstr
basic.ack                    60 80 deliveryTag:longlong multiple:bit
basic.reject                 60 90 deliveryTag:longlong requeue:bit
basic.recover-async          60 100 requeue:bit
basic.recover                60 110 requeue:bit
basic.recover-ok             60 111
basic.nack                   60 120 deliveryTag:longlong multiple:bit requeue:bit
confirm.select               85 10 nowait:bit
confirm.select-ok            85 11
tx.select                    90 10
tx.select-ok                 90 11
tx.commit                    90 20
tx.commit-ok                 90 21
tx.rollback                  90 30
tx.rollback-ok               90 31
`;

interface Method {
  readonly name: string;
  readonly classId: number;
  readonly methodId: number;
  readonly args: readonly (readonly [name: string, kind: Kind])[];
}

const METHODS: readonly Method[] = TABLE.trim()
  .split("\n")
  .map((line) => {
    const [name, classId, methodId, ...args] = line.split(/\s+/);
    return {
      name: name!,
      classId: Number(classId),
      methodId: Number(methodId),
      args: args.map((arg) => arg.split(":") as [string, Kind]),
    };
  });
const BY_NAME: ReadonlyMap<string, Method> = new Map(METHODS.map((method) => [method.name, method]));
const BY_NUMBER: ReadonlyMap<number, Method> = new Map(
  METHODS.map((method) => [method.classId * 65536 + method.methodId, method]),
);

/** @throws RangeError for a name that the table does not have */
export function methodNumbers(name: string): { readonly classId: number; readonly methodId: number } {
  const method = BY_NAME.get(name);
  if (method === undefined) throw new RangeError(`AMQP has no method ${name}`);
  return method;
}

/** The payload of a method frame; an argument that is left out is zero, false or empty. */
export function encodeMethod(name: string, args: Arguments = {}): Buffer {
  const method = methodNumbers(name) as Method;
  const to = new ByteWriter();
  to.u16(method.classId);
  to.u16(method.methodId);
  let [bits, used] = [0, 0]; // neighbouring bits share an octet
  const flush = (): void => {
    if (used > 0) to.u8(bits);
    [bits, used] = [0, 0];
  };
  for (const [arg, kind] of method.args) {
    const value = arg === "_" ? undefined : args[arg];
    if (kind === "bit") {
      bits |= value ? 1 << used : 0;
      used += 1;
      continue;
    }
    flush();
    writeArgument(to, kind, value);
  }
  flush();
  return to.bytes;
}

function writeArgument(to: ByteWriter, kind: Exclude<Kind, "bit">, value: Argument | undefined): void {
  switch (kind) {
    case "octet":
      return to.u8((value ?? 0) as number);
    case "short":
      return to.u16((value ?? 0) as number);
    case "long":
      return to.u32((value ?? 0) as number);
    case "longlong":
      return to.u64((value ?? 0) as number | bigint);
    case "shortstr":
      return to.shortText((value ?? "") as string);
    case "longstr":
      return to.sized((inner) => inner.raw(Buffer.from((value ?? "") as string)));
    case "table":
      return writeTable(to, (value ?? {}) as FieldTable);
  }
}

export interface DecodedMethod {
  readonly name: string;
  readonly args: Readonly<Record<string, boolean | number | bigint | string | DecodedTable>>;
}

/** @throws RangeError for bytes that are not a method of the table */
export function decodeMethod(payload: Buffer): DecodedMethod {
  const from = new ByteReader(payload);
  const number = from.u32();
  const method = BY_NUMBER.get(number);
  if (method === undefined) throw new RangeError(`AMQP has no method ${number >>> 16}.${number & 0xffff}`);
  const args: Record<string, boolean | number | bigint | string | DecodedTable> = {};
  let [bits, left] = [0, 0];
  for (const [arg, kind] of method.args) {
    if (kind === "bit") {
      if (left === 0) [bits, left] = [from.u8(), 8];
      args[arg] = (bits & 1) !== 0;
      [bits, left] = [bits >> 1, left - 1];
      continue;
    }
    left = 0;
    args[arg] = readArgument(from, kind);
  }
  return { name: method.name, args };
}

function readArgument(from: ByteReader, kind: Exclude<Kind, "bit">): number | bigint | string | DecodedTable {
  switch (kind) {
    case "octet":
      return from.u8();
    case "short":
      return from.u16();
    case "long":
      return from.u32();
    case "longlong":
      return from.u64();
    case "shortstr":
      return from.shortText();
    case "longstr":
      return from.sized().toString("utf8");
    case "table":
      return readTable(from);
  }
}
