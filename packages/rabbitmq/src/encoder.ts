import { HEADER as NAME, type Outgoing, TallyError } from "@tallymq/core/spi";
import { DELAY_TO } from "./delays.ts";
import { FRAME_OVERHEAD, FrameBuffer, putU32 } from "./frames.ts";
import { nativeFault, type RabbitNative } from "./native.ts";
import { makeTemplate, method, type Template } from "./template.ts";
import type { Topology } from "./topology.ts";

/** Largest body that RabbitMQ 4 takes by default; one byte more and the channel is gone. */
export const MAX_BYTES: number = 16 * 1024 * 1024;

const PERSISTENT = 2;
const PRIORITY = 0x0800;
const CORRELATION_ID = 0x0400;
const REPLY_TO = 0x0200;
const EXPIRATION = 0x0100;

/** What the encoder asks of the topology. */
export type Routes = Pick<Topology, "route" | "delayed" | "knows">;

/**
 * The envelope on its way out: `basic.publish` frames, persistent and mandatory always. AMQP's own properties carry what
 * they have a place for (content type and encoding, correlation id, message id, timestamp in seconds, type, app id);
 * sequence, key, attempt and causation id travel as headers, beside the caller's.
 *
 * Everything for which the broker would end the channel is refused here instead, by itself.
 */
export class Encoder {
  readonly #out: FrameBuffer;
  readonly #channel: number;
  readonly #frameMax: number;
  readonly #topology: Routes;
  readonly #templates: Map<string, Template> = new Map();
  #topic: string | null = null;
  #template: Template | null = null;

  constructor(
    wire: { readonly number: number; readonly frameMax: number; write(bytes: Uint8Array): void },
    topology: Routes,
  ) {
    this.#out = new FrameBuffer(wire.write);
    this.#channel = wire.number;
    this.#frameMax = wire.frameMax;
    this.#topology = topology;
  }

  /** Writes the frames of one message; or nothing, and says why. */
  add(m: Outgoing): TallyError | null {
    if (m.body.length > MAX_BYTES)
      return new TallyError("too-large", `the body has ${m.body.length} bytes; RabbitMQ takes ${MAX_BYTES}`, {
        id: m.id,
      });
    let native = m.native as RabbitNative | null;
    if (native !== null) {
      const fault = nativeFault(m.native!, (exchange) => this.#topology.knows(exchange));
      if (fault !== null) return bad(m, fault);
    }
    const template = this.#templateOf(m);
    if (TallyError.is(template)) return template;
    let to: string | null = null;
    if (m.delayMs > 0) {
      if (m.group === null && native !== null && ownWay(native))
        return bad(m, "native.exchange, native.routingKey and native.expiration do not go with a delay");
      const route = this.#topology.delayed(m.topic, m.group, m.delayMs);
      if (TallyError.is(route)) return route;
      native = { ...native, exchange: route.exchange, routingKey: route.routingKey };
      to = route.to;
    } else if (m.group !== null) {
      // A route of its own, like one that was given raw; that is for all groups and does not count here.
      const { exchange, routingKey } = this.#topology.route(m.topic, m.group)!;
      native = { ...native, exchange, routingKey };
    }
    const out = this.#out;
    out.room(bound(m, template));
    const start = out.at;
    const fault = this.#write(m, template, native, to);
    if (fault !== null) {
      out.at = start;
      return bad(m, fault);
    }
    out.body(this.#channel, m.body, this.#frameMax);
    return null;
  }

  /** Hands what was added to the connection. */
  flush(): void {
    this.#out.flush();
  }

  /** @param to Where it goes when its delay is over. */
  #write(m: Outgoing, t: Template, native: RabbitNative | null, to: string | null): string | null {
    const out = this.#out;
    let at = out.at;
    if (native?.routingKey === undefined && native?.exchange === undefined) out.raw(t.head);
    else {
      method(out, this.#channel, native.exchange ?? t.route.exchange, native.routingKey ?? t.route.routingKey);
      at = out.at - t.method;
      out.raw(t.head.subarray(t.method));
    }
    const { bytes } = out;
    const header = at + t.method;
    let flags = t.flags;
    // The table of headers: its length and that of the first value are known at their ends.
    const seq = at + t.seq;
    out.text(String(m.seq));
    putU32(bytes, seq, out.at - seq - 4);
    if (m.key !== null) {
      out.raw(KEY);
      out.longValue(m.key);
    }
    if (m.attempt !== 1) {
      out.raw(ATTEMPT);
      out.longValue(String(m.attempt));
    }
    if (m.causationId !== null) {
      out.raw(CAUSATION_ID);
      out.longValue(m.causationId);
    }
    if (to !== null) {
      out.raw(TO);
      out.longValue(to);
    }
    for (const name in m.headers) {
      // The broker reads these two as lists of further routing keys, and a text in their place ends the channel.
      if (name === "CC" || name === "BCC") return `a header cannot be named ${name} on RabbitMQ`;
      if (!out.short(name)) return "a header's name may have at most 255 bytes";
      out.longValue(m.headers[name]!);
    }
    const table = at + t.table;
    putU32(bytes, table, out.at - table - 4);
    // The other properties, in the order of their flags.
    out.u8(PERSISTENT);
    if (native?.priority !== undefined) {
      flags |= PRIORITY;
      out.u8(native.priority);
    }
    if (m.correlationId !== null) {
      flags |= CORRELATION_ID;
      if (!out.short(m.correlationId)) return "the correlation id may have at most 255 bytes";
    }
    if (native?.replyTo !== undefined) {
      flags |= REPLY_TO;
      out.short(native.replyTo);
    }
    if (native?.expiration !== undefined) {
      flags |= EXPIRATION;
      out.short(String(native.expiration));
    }
    if (!out.short(m.id)) return "the id may have at most 255 bytes";
    out.u64(Math.max(0, Math.floor(m.time / 1_000)));
    out.raw(t.tail);
    const size = out.at - header;
    // A frame beyond the agreed size would end the connection.
    if (size > this.#frameMax)
      return `headers and properties take ${size} bytes; one frame of this connection holds ${this.#frameMax}`;
    putU32(bytes, header + 3, size - FRAME_OVERHEAD);
    putU32(bytes, header + 15, m.body.length);
    bytes[header + 19] = flags >>> 8;
    bytes[header + 20] = flags;
    return null;
  }

  #templateOf(m: Outgoing): Template | TallyError {
    let t: Template | null | undefined = m.topic === this.#topic ? this.#template : this.#templates.get(m.topic);
    if (
      t == null ||
      t.type !== m.type ||
      t.contentType !== m.contentType ||
      t.contentEncoding !== m.contentEncoding ||
      t.producer !== m.producer ||
      t.run !== m.run
    ) {
      const route = this.#topology.route(m.topic, null);
      if (route === null)
        return new TallyError("topology", `topic ${JSON.stringify(m.topic)} has not been declared`, { id: m.id });
      t = makeTemplate(m, route, this.#channel);
      if (t === null)
        return bad(m, "type, content type, content encoding and producer may have at most 255 bytes each");
      this.#templates.set(m.topic, t);
    }
    this.#topic = m.topic;
    this.#template = t;
    return t;
  }
}

// Names of headers as short strings.
const KEY = shortBytes(NAME.key);
const ATTEMPT = shortBytes(NAME.attempt);
const CAUSATION_ID = shortBytes(NAME.causationId);
const TO = shortBytes(DELAY_TO);

function ownWay({ exchange, routingKey, expiration }: RabbitNative): boolean {
  return exchange !== undefined || routingKey !== undefined || expiration !== undefined;
}

function shortBytes(text: string): Uint8Array {
  return Uint8Array.from([text.length, ...Buffer.from(text)]);
}

/** No fewer bytes than the message's frames take, without the body's. */
function bound(m: Outgoing, t: Template): number {
  let units = m.id.length + (m.correlationId?.length ?? 0) + (m.key?.length ?? 0) + (m.causationId?.length ?? 0);
  let headers = 0;
  for (const name in m.headers) {
    units += name.length + m.headers[name]!.length;
    headers++;
  }
  // Lengths, numbers and fixed names; a method frame of other routing, raw properties, and where a delay leads to. Three
  // bytes a UTF-16 unit at most.
  const plain = m.native === null && m.group === null && m.delayMs === 0;
  return t.head.length + t.tail.length + 3 * units + 8 * headers + (plain ? 256 : 2_048);
}

function bad(m: Outgoing, why: string): TallyError {
  return new TallyError("bad-message", why, { id: m.id });
}
