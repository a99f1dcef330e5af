import type { Incoming, TopicPlan } from "@tallymq/core/spi";
import type { Fate } from "../group.ts";
import { flag, list, metaOf, readMessage, text, whole, WireError } from "../wire.ts";

/** What a record of the log says. */
export type LogEntry =
  | {
      readonly kind: "declared";
      readonly topic: string;
      readonly ordered: boolean;
      readonly groups: readonly GroupName[];
    }
  | {
      readonly kind: "message";
      readonly place: number;
      readonly message: Incoming;
      /** Number of the one group that it is for; 0: all. */
      readonly group: number;
      /** Wall-clock milliseconds; 0: at once. */
      readonly dueAt: number;
    }
  | { readonly kind: "left"; readonly places: readonly Left[] };

/** A group as its topic's declaration numbers it: the number stands in the entries of what left it. */
export interface GroupName {
  readonly number: number;
  readonly name: string;
}

/** A message is out of one group's queue for good. */
export interface Left {
  readonly group: number;
  readonly place: number;
  readonly fate: Fate;
}

// COPY: a message for one group, or for later; logs from before there were such copies have none.
const [DECLARED, MESSAGE, LEFT, COPY] = [1, 2, 3, 4];
const LEFT_BYTES = 13;
/** Of a copy, ahead of what is as in a message's record: group, u32, and due time, f64. */
const COPY_BYTES = 12;

export function encodeDeclared(plan: TopicPlan, numbers: readonly number[]): Uint8Array[] {
  const groups = plan.groups.map((name, i) => [numbers[i], name]);
  return [Buffer.from([DECLARED!]), Buffer.from(JSON.stringify({ topic: plan.name, ordered: plan.ordered, groups }))];
}

/** @param group Number of the one group that it is for; 0: all. */
export function encodeMessage(place: number, message: Incoming, group = 0, dueAt = 0): Uint8Array[] {
  const meta = Buffer.from(JSON.stringify(metaOf(message)));
  const copy = group !== 0 || dueAt !== 0;
  const head = Buffer.allocUnsafe(13 + (copy ? COPY_BYTES : 0));
  let at = head.writeUInt8(copy ? COPY! : MESSAGE!, 0);
  if (copy) at = head.writeDoubleBE(dueAt, head.writeUInt32BE(group, at));
  at = head.writeDoubleBE(place, at);
  head.writeUInt32BE(meta.length, at);
  return [head, meta, message.body];
}

export function encodeLeft(places: readonly Left[]): Uint8Array[] {
  const out = Buffer.allocUnsafe(1 + places.length * LEFT_BYTES);
  out.writeUInt8(LEFT!, 0);
  places.forEach(({ group, place, fate }, i) => {
    const at = 1 + i * LEFT_BYTES;
    out.writeUInt32BE(group, at);
    out.writeUInt8(fate === "dead" ? 1 : 0, at + 4);
    out.writeDoubleBE(place, at + 5);
  });
  return [out];
}

/** @throws WireError when a record that verifies says nothing known: it was written by another version. */
export function decodeEntry(payload: Buffer): LogEntry {
  const kind = payload[0];
  if (kind === DECLARED) {
    const said = JSON.parse(payload.toString("utf8", 1)) as Record<string, unknown>;
    const groups = list(said["groups"]).map((pair) => ({
      number: whole(list(pair)[0], 1, 2 ** 32 - 1),
      name: text(list(pair)[1]),
    }));
    return { kind: "declared", topic: text(said["topic"]), ordered: flag(said["ordered"]), groups };
  }
  const at = kind === COPY ? 1 + COPY_BYTES : 1;
  if ((kind === MESSAGE || kind === COPY) && payload.length >= at + 12) {
    const metaEnd = at + 12 + payload.readUInt32BE(at + 8);
    const meta: unknown = JSON.parse(payload.toString("utf8", at + 12, metaEnd));
    return {
      kind: "message",
      place: payload.readDoubleBE(at),
      message: readMessage(meta, payload, metaEnd),
      group: kind === COPY ? payload.readUInt32BE(1) : 0,
      dueAt: kind === COPY ? payload.readDoubleBE(5) : 0,
    };
  }
  if (kind === LEFT && (payload.length - 1) % LEFT_BYTES === 0) {
    const places: Left[] = [];
    for (let at = 1; at < payload.length; at += LEFT_BYTES) {
      places.push({
        group: payload.readUInt32BE(at),
        fate: payload[at + 4] === 1 ? "dead" : "settled",
        place: payload.readDoubleBE(at + 5),
      });
    }
    return { kind: "left", places };
  }
  throw new WireError(`a record of the unknown kind ${kind}`);
}
