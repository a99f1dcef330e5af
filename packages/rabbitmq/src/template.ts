import { HEADER as NAME, type Outgoing } from "@tallymq/core/spi";
import { FRAME_END, FRAME_OVERHEAD, FrameBuffer, HEADER, METHOD, putU32 } from "./frames.ts";
import type { Route } from "./topology.ts";

const CLASS_BASIC = 60;
const PUBLISH = 40;
const MANDATORY = 1;
const CONTENT_TYPE = 0x8000;
const CONTENT_ENCODING = 0x4000;
const HEADERS = 0x2000;
const DELIVERY_MODE = 0x1000;
const MESSAGE_ID = 0x0080;
const TIMESTAMP = 0x0040;
const TYPE = 0x0020;
const APP_ID = 0x0008;
const ALWAYS = CONTENT_TYPE | HEADERS | DELIVERY_MODE | MESSAGE_ID | TIMESTAMP | APP_ID;

/** All that messages of a topic have in common, encoded once. */
export interface Template {
  readonly route: Route;
  readonly type: string | null;
  readonly contentType: string;
  readonly contentEncoding: string | null;
  readonly producer: string;
  readonly run: string;
  /** The method frame, then the header frame up to the slash of `tally-seq`. */
  readonly head: Uint8Array;
  /** Bytes of the method frame in it. */
  readonly method: number;
  /** Where in `head` the length of the header table, and that of `tally-seq`, stand. */
  readonly table: number;
  readonly seq: number;
  /** Type and app-id, and the end of the frame. */
  readonly tail: Uint8Array;
  readonly flags: number;
}

/** The frame `basic.publish`; false when a name is too long for it. */
export function method(out: FrameBuffer, channel: number, exchange: string, routingKey: string): boolean {
  const start = out.at;
  out.u8(METHOD);
  out.u16(channel);
  out.at += 4;
  out.u16(CLASS_BASIC);
  out.u16(PUBLISH);
  out.u16(0);
  if (!out.short(exchange) || !out.short(routingKey)) return false;
  out.u8(MANDATORY);
  out.u8(FRAME_END);
  putU32(out.bytes, start + 3, out.at - start - FRAME_OVERHEAD);
  return true;
}

/** Null when a text is longer than a short string may be. */
export function makeTemplate(m: Outgoing, route: Route, channel: number): Template | null {
  const out = new FrameBuffer(() => {});
  let flags = ALWAYS;
  if (!method(out, channel, route.exchange, route.routingKey)) return null;
  const header = out.at;
  out.u8(HEADER);
  out.u16(channel);
  out.u32(0);
  out.u16(CLASS_BASIC);
  out.u16(0);
  out.u64(0);
  out.u16(0);
  if (!out.short(m.contentType)) return null;
  if (m.contentEncoding !== null) {
    flags |= CONTENT_ENCODING;
    if (!out.short(m.contentEncoding)) return null;
  }
  const table = out.at;
  out.u32(0);
  out.short(NAME.seq);
  const seq = out.at + 1;
  out.longValue(`${m.run}/`);
  const head = new Uint8Array(out.bytes.subarray(0, out.at));
  out.at = 0;
  if (m.type !== null) {
    flags |= TYPE;
    if (!out.short(m.type)) return null;
  }
  if (!out.short(m.producer)) return null;
  out.u8(FRAME_END);
  const { type, contentType, contentEncoding, producer, run } = m;
  return {
    route,
    type,
    contentType,
    contentEncoding,
    producer,
    run,
    head,
    method: header,
    table,
    seq,
    tail: new Uint8Array(out.bytes.subarray(0, out.at)),
    flags,
  };
}
