import { ByteReader, ByteWriter } from "./bytes.ts";
import { readTable, writeTable } from "./fields.ts";
import type { DecodedTable, FieldTable } from "./fields.ts";

/** The properties of a message, by the names that amqplib gives them; what is left out does not stand on the wire. */
export interface Properties {
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly headers?: FieldTable;
  readonly deliveryMode?: number;
  readonly priority?: number;
  readonly correlationId?: string;
  readonly replyTo?: string;
  readonly expiration?: string;
  readonly messageId?: string;
  /** Seconds, as AMQP has it. */
  readonly timestamp?: number | bigint;
  readonly type?: string;
  readonly userId?: string;
  readonly appId?: string;
  readonly clusterId?: string;
}
export type DecodedProperties = Omit<Properties, "headers"> & { readonly headers?: DecodedTable };

const ORDER = [
  ["contentType", "text"],
  ["contentEncoding", "text"],
  ["headers", "table"],
  ["deliveryMode", "octet"],
  ["priority", "octet"],
  ["correlationId", "text"],
  ["replyTo", "text"],
  ["expiration", "text"],
  ["messageId", "text"],
  ["timestamp", "time"],
  ["type", "text"],
  ["userId", "text"],
  ["appId", "text"],
  ["clusterId", "text"],
] as const;

/** The payload of a content header frame of class basic. `properties` as bytes: flags and values as they are to stand there. */
export function encodeHeader(size: number | bigint, properties: Properties | Uint8Array): Buffer {
  const to = new ByteWriter();
  to.u16(60);
  to.u16(0);
  to.u64(size);
  if (properties instanceof Uint8Array) {
    to.raw(properties);
    return to.bytes;
  }
  // The first property has the highest bit; the lowest would say that more flags follow.
  to.u16(ORDER.reduce((flags, [name], at) => (properties[name] === undefined ? flags : flags | (1 << (15 - at))), 0));
  for (const [name, kind] of ORDER) {
    const value = properties[name];
    if (value === undefined) continue;
    if (kind === "text") to.shortText(value as string);
    else if (kind === "octet") to.u8(value as number);
    else if (kind === "time") to.u64(value as number | bigint);
    else writeTable(to, value as FieldTable);
  }
  return to.bytes;
}

/** @throws RangeError for bytes that are not a content header */
export function decodeHeader(payload: Buffer): { readonly size: number; readonly properties: DecodedProperties } {
  const from = new ByteReader(payload);
  from.u32(); // class and weight
  const size = Number(from.u64());
  const flags = from.u16();
  const properties: Record<string, string | number | bigint | DecodedTable> = {};
  ORDER.forEach(([name, kind], at) => {
    if ((flags & (1 << (15 - at))) === 0) return;
    if (kind === "text") properties[name] = from.shortText();
    else if (kind === "octet") properties[name] = from.u8();
    else if (kind === "time") properties[name] = from.u64();
    else properties[name] = readTable(from);
  });
  return { size, properties };
}
