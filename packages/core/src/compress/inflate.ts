import { TallyError } from "../error.ts";
import type { Incoming } from "../message.ts";
import { coderOf } from "../platform/zip.ts";
import type { Topic } from "../topic.ts";
import { inflatedMost } from "./options.ts";

// What says "as it is". Kombu (Celery) writes the character set here; JSON is UTF-8 in any case, and bytes are bytes.
const PLAIN: ReadonlySet<string> = new Set(["", "identity", "utf-8", "utf8", "binary"]);

/**
 * A body is inflated on the loop if it has no more bytes than this, and gives no more than four times as many: 0.3 ms at most.
 * Nobody knows before what comes out, so it is tried, and what gives more is begun anew off the loop.
 */
const ON_LOOP = 16_384;
const ON_LOOP_INFLATED: number = 4 * ON_LOOP;

/**
 * The body as it was before it was compressed, by whomever; a promise when that is done off the loop. It stops inflating at
 * the topic's `maxInflatedBytes`.
 * @throws TallyError `decode`, or rejects with it
 */
export function inflated(
  topic: Topic<never, unknown>,
  message: Pick<Incoming, "body" | "contentEncoding">,
): Uint8Array | Promise<Uint8Array> {
  const coder = coderFor(topic, message);
  const { body } = message;
  if (coder === null) return body;
  const most = inflatedMost(topic);
  if (body.length <= ON_LOOP) {
    try {
      return coder.inflateSync(body, Math.min(most, ON_LOOP_INFLATED));
    } catch (thrown) {
      if (!isTooMuch(thrown) || most <= ON_LOOP_INFLATED) throw unreadable(topic, most, thrown);
    }
  }
  return coder.inflate(body, most).catch((thrown: unknown) => {
    throw unreadable(topic, most, thrown);
  });
}

/** The same at once, for whoever looks at one message. */
export function inflatedNow(
  topic: Topic<never, unknown>,
  message: Pick<Incoming, "body" | "contentEncoding">,
): Uint8Array {
  const coder = coderFor(topic, message);
  if (coder === null) return message.body;
  const most = inflatedMost(topic);
  try {
    return coder.inflateSync(message.body, most);
  } catch (thrown) {
    throw unreadable(topic, most, thrown);
  }
}

function coderFor(
  topic: Topic<never, unknown>,
  { body, contentEncoding }: Pick<Incoming, "body" | "contentEncoding">,
): ReturnType<typeof coderOf> {
  const { length } = body;
  if (topic.maxBytes !== null && length > topic.maxBytes)
    throw new TallyError("decode", `${topic.name}: a body of ${length} bytes, and its maxBytes is ${topic.maxBytes}`);
  if (contentEncoding === null) return null;
  const encoding = contentEncoding.toLowerCase();
  if (PLAIN.has(encoding)) return null;
  const coder = coderOf(encoding === "x-gzip" ? "gzip" : encoding);
  if (coder === null)
    throw new TallyError("decode", `${topic.name}: a content-encoding that this consumer cannot read`);
  return coder;
}

function unreadable(topic: Topic<never, unknown>, most: number, thrown: unknown): TallyError {
  return isTooMuch(thrown)
    ? new TallyError(
        "decode",
        `${topic.name}: a compressed body that becomes more than ${most} bytes (maxInflatedBytes)`,
      )
    : new TallyError("decode", `${topic.name}: the compressed body is damaged, cut off, or not what it says it is`, {
        cause: thrown,
      });
}

function isTooMuch(thrown: unknown): boolean {
  return (thrown as { readonly code?: unknown } | null)?.code === "ERR_BUFFER_TOO_LARGE";
}
