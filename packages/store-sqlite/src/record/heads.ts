import type { NewRow } from "@tallymq/core/spi";
import { COMMON, viewOf } from "./layout.ts";

/** Topics that are remembered. */
const MOST_HEADS = 1_000;
const NO_BYTES: Uint8Array = new Uint8Array(0);
const encoder = new TextEncoder();

/** What the messages of a topic have in common, as bytes. */
export interface Head {
  readonly head: Uint8Array;
  readonly traits: Uint8Array;
  readonly dedupeFor: number;
  /** All of it, as short records have it beside them. */
  readonly common: Uint8Array;
  readonly row: NewRow;
}

/** Encodes what the messages of a topic have in common once, while it does not change. */
export class Heads {
  readonly #heads: Map<string, Head> = new Map();

  of(row: NewRow): Head {
    const { topic } = row.message;
    const last = this.#heads.get(topic);
    if (last !== undefined && isAlike(last.row, row)) return last;
    if (last === undefined && this.#heads.size === MOST_HEADS) this.#heads.clear();
    const head = headOf(row);
    this.#heads.set(topic, head);
    return head;
  }
}

/** Of the same topic. */
function isAlike(a: NewRow, b: NewRow): boolean {
  return (
    a.destination === b.destination &&
    a.dedupeForMs === b.dedupeForMs &&
    a.message.producer === b.message.producer &&
    a.message.run === b.message.run &&
    a.message.type === b.message.type &&
    a.message.contentType === b.message.contentType &&
    a.message.contentEncoding === b.message.contentEncoding
  );
}

function headOf(row: NewRow): Head {
  const { message, destination } = row;
  const head = encoder.encode(JSON.stringify([destination, message.producer, message.topic]));
  const traits = encoder.encode(
    JSON.stringify([message.run, message.type, message.contentType, message.contentEncoding]),
  );
  const dedupeFor = Math.floor((row.dedupeForMs ?? 0) / 1_000);
  const common = new Uint8Array(COMMON.texts + head.length + traits.length);
  const view = viewOf(common);
  view.setUint16(COMMON.head, head.length, true);
  view.setUint16(COMMON.traits, traits.length, true);
  view.setUint32(COMMON.dedupeFor, dedupeFor, true);
  common.set(head, COMMON.texts);
  common.set(traits, COMMON.texts + head.length);
  // Without the body: it would be held for as long as messages of its topic come.
  return { head, traits, dedupeFor, common, row: { ...row, message: { ...message, body: NO_BYTES, native: null } } };
}
