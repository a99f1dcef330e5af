import { encodeMethod } from "./methods.ts";
import { encodeHeader } from "./properties.ts";
import { typed } from "./fields.ts";

export const METHOD = 1;
export const HEADER = 2;
export const BODY = 3;
export const HEARTBEAT = 8;
const END = 0xce;
const OVERHEAD = 8;

export interface Frame {
  readonly type: number;
  readonly channel: number;
  readonly payload: Buffer;
}

/** `size` and `end` say something else than the truth where a test wants so. */
export function encodeFrame(
  type: number,
  channel: number,
  payload: Uint8Array,
  lies: { size?: number; end?: number } = {},
): Buffer {
  const bytes = Buffer.alloc(payload.length + OVERHEAD);
  bytes.writeUInt8(type, 0);
  bytes.writeUInt16BE(channel, 1);
  bytes.writeUInt32BE(lies.size ?? payload.length, 3);
  bytes.set(payload, 7);
  bytes.writeUInt8(lies.end ?? END, payload.length + 7);
  return bytes;
}

/** A body in as many frames as `frameMax` asks for; none for an empty one. */
export function encodeBody(channel: number, body: Uint8Array, frameMax: number): Buffer {
  const most = frameMax === 0 ? body.length : frameMax - OVERHEAD;
  const frames: Buffer[] = [];
  for (let from = 0; from < body.length; from += most)
    frames.push(encodeFrame(BODY, channel, body.subarray(from, from + most)));
  return Buffer.concat(frames);
}

/** Cuts what a client sends into frames. @throws RangeError for bytes that are none */
export class FrameParser {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Frame[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Frame[] = [];
    while (this.#rest.length >= OVERHEAD) {
      const size = this.#rest.readUInt32BE(3);
      if (this.#rest.length < size + OVERHEAD) break;
      if (this.#rest[size + 7] !== END) throw new RangeError("a frame without its end");
      frames.push({
        type: this.#rest.readUInt8(0),
        channel: this.#rest.readUInt16BE(1),
        payload: this.#rest.subarray(7, size + 7),
      });
      this.#rest = this.#rest.subarray(size + OVERHEAD);
    }
    return frames;
  }

  /** The rest is not frames (the protocol header, say): takes `length` bytes when they are there. */
  take(chunk: Buffer, length: number): Buffer | null {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    if (this.#rest.length < length) return null;
    const taken = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return taken;
  }
}

const deliver = (channel: number): Buffer =>
  encodeFrame(METHOD, channel, encodeMethod("basic.deliver", { consumerTag: "any", deliveryTag: 1 }));

export type Malformed =
  | "huge frame"
  | "wrong end"
  | "wrong size"
  | "unknown frame type"
  | "unknown method"
  | "empty method"
  | "method cut short"
  | "header without method"
  | "body without header"
  | "body longer than announced"
  | "delivery without header"
  | "field of no type"
  | "table longer than its frame"
  | "answer that nobody asked for"
  | "channel that nobody opened";

/** Bytes that no honest server sends, each by its name, for a channel. */
export const MALFORMED: Readonly<Record<Malformed, (channel: number) => Buffer>> = {
  /** Says that 4 GiB follow. */
  "huge frame": (channel) => encodeFrame(METHOD, channel, Buffer.alloc(64), { size: 0xffffffff }),
  "wrong end": (channel) => encodeFrame(METHOD, channel, encodeMethod("basic.ack", { deliveryTag: 1 }), { end: 0 }),
  "wrong size": (channel) => encodeFrame(METHOD, channel, encodeMethod("basic.ack", { deliveryTag: 1 }), { size: 3 }),
  "unknown frame type": (channel) => encodeFrame(9, channel, Buffer.from("what")),
  "unknown method": (channel) => encodeFrame(METHOD, channel, Buffer.from([0, 60, 0x27, 0x0f])),
  "empty method": (channel) => encodeFrame(METHOD, channel, Buffer.alloc(0)),
  "method cut short": (channel) =>
    encodeFrame(METHOD, channel, encodeMethod("basic.ack", { deliveryTag: 1 }).subarray(0, 7)),
  "header without method": (channel) => encodeFrame(HEADER, channel, encodeHeader(4, {})),
  "body without header": (channel) => encodeFrame(BODY, channel, Buffer.from("body")),
  "body longer than announced": (channel) =>
    Buffer.concat([
      deliver(channel),
      encodeFrame(HEADER, channel, encodeHeader(2, {})),
      encodeFrame(BODY, channel, Buffer.from("longer")),
    ]),
  "delivery without header": (channel) => Buffer.concat([deliver(channel), deliver(channel)]),
  "field of no type": (channel) =>
    Buffer.concat([
      deliver(channel),
      encodeFrame(HEADER, channel, encodeHeader(0, { headers: { h: typed("Z", "?") } })),
    ]),
  "table longer than its frame": (channel) =>
    Buffer.concat([
      deliver(channel),
      encodeFrame(HEADER, channel, encodeHeader(0, Buffer.from([0x20, 0, 0xff, 0xff, 0xff, 0xff, 1]))),
    ]),
  "answer that nobody asked for": (channel) =>
    encodeFrame(METHOD, channel, encodeMethod("queue.declare-ok", { queue: "q" })),
  "channel that nobody opened": () => encodeFrame(METHOD, 4242, encodeMethod("basic.ack", { deliveryTag: 1 })),
};
