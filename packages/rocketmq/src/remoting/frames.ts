/** An answer of the admin protocol. */
export interface Answer {
  readonly opaque: number;
  readonly code: number;
  readonly remark: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A frame that says it is larger is taken for something else than this protocol. */
export const MOST_FRAME: number = 16 * 1024 * 1024;
const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** `int32 length · int32 (kind << 24 | length of the header) · header · body`; kind 0 is JSON. */
export function request(
  code: number,
  opaque: number,
  fields: Readonly<Record<string, string>>,
  body: Uint8Array = EMPTY,
): Uint8Array {
  const header = encoder.encode(
    JSON.stringify({ code, language: "OTHER", version: 0, opaque, flag: 0, extFields: fields }),
  );
  const frame = new Uint8Array(8 + header.length + body.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, 4 + header.length + body.length);
  view.setUint32(4, header.length);
  frame.set(header, 8);
  frame.set(body, 8 + header.length);
  return frame;
}

/** Cuts a stream of bytes into answers. Throws at what cannot be one; nothing of that stream is to be believed from there. */
export class AnswerReader {
  #held: Uint8Array = EMPTY;

  take(chunk: Uint8Array): Answer[] {
    const all = new Uint8Array(this.#held.length + chunk.length);
    all.set(this.#held);
    all.set(chunk, this.#held.length);
    const view = new DataView(all.buffer);
    const answers: Answer[] = [];
    let at = 0;
    while (all.length - at >= 4) {
      const length = view.getUint32(at);
      if (length < 4 || length > MOST_FRAME) throw new Error(`a frame of ${length} bytes: this is no RocketMQ`);
      if (all.length - at - 4 < length) break;
      answers.push(read(all.subarray(at + 4, at + 4 + length)));
      at += 4 + length;
    }
    this.#held = all.slice(at);
    return answers;
  }
}

function read(frame: Uint8Array): Answer {
  const word = new DataView(frame.buffer, frame.byteOffset, frame.byteLength).getUint32(0);
  const length = word & 0xffffff;
  if (word >>> 24 !== 0 || length > frame.length - 4) throw new Error("a header that is no JSON: this is no RocketMQ");
  const header = JSON.parse(decoder.decode(frame.subarray(4, 4 + length))) as Partial<
    Record<"opaque" | "code" | "remark" | "extFields", unknown>
  > | null;
  if (typeof header?.opaque !== "number" || typeof header.code !== "number")
    throw new Error("a header without a number: this is no RocketMQ");
  const fields: Record<string, string> = Object.create(null) as Record<string, string>;
  if (typeof header.extFields === "object" && header.extFields !== null)
    for (const [name, value] of Object.entries(header.extFields)) fields[name] = String(value);
  return {
    opaque: header.opaque,
    code: header.code,
    remark: typeof header.remark === "string" ? header.remark : "",
    fields,
    body: frame.slice(4 + length),
  };
}

/** JSON as the servers write it: the keys of a map may be numbers without quotes. */
export function readJson(body: Uint8Array): unknown {
  return JSON.parse(decoder.decode(body).replace(/([{,]\s*)(\d+)\s*:/g, '$1"$2":'));
}
