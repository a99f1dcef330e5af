export { scriptedAmqp, ScriptedAmqp } from "./server.ts";
export type { AmqpServerOptions, WaitOptions } from "./server.ts";
export type { AmqpScript } from "./script.ts";
export { ServerConnection } from "./connection.ts";
export type { Handshake, Host } from "./connection.ts";
export { ServerChannel } from "./channel.ts";
export type { Delivery, ServerConsumer } from "./channel.ts";
export type {
  Received,
  ReceivedEnd,
  ReceivedHeartbeat,
  ReceivedMethod,
  ReceivedPublish,
  ReceivedSettlement,
} from "./received.ts";
export { typed, TypedField } from "./fields.ts";
export type { DecodedField, DecodedTable, Field, FieldTable, FieldType } from "./fields.ts";
export type { DecodedProperties, Properties } from "./properties.ts";
export type { Argument, Arguments, DecodedMethod } from "./methods.ts";
export { MALFORMED } from "./frames.ts";
export type { Malformed } from "./frames.ts";
