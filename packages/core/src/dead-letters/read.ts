import { inflatedNow } from "../compress/inflate.ts";
import { readBody } from "../body.ts";
import type { Incoming } from "../message.ts";
import type { Topic } from "../topic.ts";
import { DEAD_HEADER } from "./letter.ts";
import type { DeadLetter } from "./queue.ts";

const OURS: ReadonlySet<string> = new Set(Object.values(DEAD_HEADER));
const UNSAID = "no reason is given: the broker gave it up, or somebody else put it here";

/** What a letter says of the message that it was; of somebody else's message in the queue, what that says itself. */
export function readLetter(topic: Topic<never, unknown>, group: string, message: Incoming): DeadLetter {
  const said = message.headers;
  const ours = said[DEAD_HEADER.topic] !== undefined;
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(said)) if (!OURS.has(name)) headers[name] = value;
  return Object.freeze({
    id: ours ? (said[DEAD_HEADER.id] ?? null) : message.id,
    letterId: message.id,
    producer: ours ? (said[DEAD_HEADER.producer] ?? null) : message.producer,
    topic: topic.name,
    group,
    key: message.key,
    type: message.type,
    reason: said[DEAD_HEADER.reason] ?? UNSAID,
    attempts: whole(said[DEAD_HEADER.attempts]),
    time: message.time,
    deadAt: whole(said[DEAD_HEADER.at]),
    correlationId: message.correlationId,
    causationId: message.causationId,
    contentType: message.contentType,
    contentEncoding: message.contentEncoding,
    headers: Object.freeze(headers),
    body: message.body,
    decode: () => readBody({ ...topic, schema: null }, inflatedNow(topic, message)),
  });
}

function whole(text: string | undefined): number | null {
  const number = text === undefined || text === "" ? Number.NaN : Number(text);
  return Number.isSafeInteger(number) && number >= 0 ? number : null;
}
