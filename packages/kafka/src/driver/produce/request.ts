import type { Packer } from "../codecs.ts";
import type { DriverRecord } from "../driver.ts";
import { crc32c } from "./crc32c.ts";
import { encodeRecords } from "./records.ts";

/** The request's number, and its version: the first that takes zstd. Kafka has it since 2.1. */
export const PRODUCE = { key: 0, version: 7 } as const;

/** Acks of all in-sync replicas, and milliseconds that the leader waits for them. */
const ALL = -1;
const WITHIN = 30_000;
/** What begins a batch, before its records. */
const BATCH_HEAD = 61;
/** What is before that, without the names of client and topic. */
const REQUEST_HEAD = 40;
/** Where the number stands that the answer comes under. */
const CORRELATION = 8;
/** From the head of a batch on. */
const AT = { length: 8, epoch: 12, magic: 16, crc: 17, attributes: 21 } as const;

/** A batch under its sequence number. */
export interface Batch {
  readonly clientId: string;
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly DriverRecord[];
  readonly producerId: bigint;
  readonly producerEpoch: number;
  /** Of the first record. */
  readonly sequence: number;
  /** Of all records, in wall-clock milliseconds. */
  readonly timestamp: number;
}

/** @param packer null: records go as they are. */
export async function produceRequest(batch: Batch, packer: Packer | null): Promise<Buffer> {
  const { clientId, topic, records } = batch;
  const head = REQUEST_HEAD + Buffer.byteLength(clientId) + Buffer.byteLength(topic) + BATCH_HEAD;
  if (packer === null) return sealed(batch, head, encodeRecords(records, head), 0);
  const packed = await packer.pack(encodeRecords(records, 0));
  return sealed(batch, head, Buffer.concat([Buffer.allocUnsafe(head), packed]), packer.number);
}

/** What the answer will come under. */
export function number(request: Buffer, correlationId: number): void {
  request.writeInt32BE(correlationId, CORRELATION);
}

/** Writes what stands before the records, which lie in place. */
function sealed(batch: Batch, head: number, bytes: Buffer, attributes: number): Buffer {
  const { clientId, topic, partition, records, producerId, producerEpoch, sequence, timestamp } = batch;
  let at = bytes.writeInt32BE(bytes.length - 4, 0);
  at = bytes.writeInt16BE(PRODUCE.key, at);
  at = bytes.writeInt16BE(PRODUCE.version, at);
  at = bytes.writeInt32BE(0, at);
  at = text(bytes, at, clientId);
  // No transaction.
  at = bytes.writeInt16BE(-1, at);
  at = bytes.writeInt16BE(ALL, at);
  at = bytes.writeInt32BE(WITHIN, at);
  // One topic, one partition.
  at = text(bytes, bytes.writeInt32BE(1, at), topic);
  at = bytes.writeInt32BE(1, at);
  at = bytes.writeInt32BE(partition, at);
  const from = bytes.writeInt32BE(bytes.length - head + BATCH_HEAD, at);
  // The broker writes where it begins, and under which leader.
  bytes.writeBigInt64BE(0n, from);
  bytes.writeInt32BE(bytes.length - from - AT.epoch, from + AT.length);
  bytes.writeInt32BE(0, from + AT.epoch);
  bytes[from + AT.magic] = 2;
  at = bytes.writeInt16BE(attributes, from + AT.attributes);
  at = bytes.writeInt32BE(records.length - 1, at);
  at = bytes.writeBigInt64BE(BigInt(timestamp), at);
  at = bytes.writeBigInt64BE(BigInt(timestamp), at);
  at = bytes.writeBigInt64BE(producerId, at);
  at = bytes.writeInt16BE(producerEpoch, at);
  at = bytes.writeInt32BE(sequence, at);
  bytes.writeInt32BE(records.length, at);
  bytes.writeInt32BE(crc32c(bytes, from + AT.attributes), from + AT.crc);
  return bytes;
}

function text(bytes: Buffer, at: number, value: string): number {
  const length = bytes.write(value, at + 2);
  bytes.writeInt16BE(length, at);
  return at + 2 + length;
}
