import { TallyError } from "../error.ts";
import { largestOf } from "../memory.ts";
import type { Draft } from "../message.ts";
import { coderOf } from "../platform/zip.ts";
import { allocate } from "../slab.ts";
import type { Traits } from "../port/transport.ts";
import { type Compression, inflatedMost } from "./options.ts";

type Compressing = Compression & { readonly name: string; readonly maxBytes: number | null };

/**
 * Up to here a body is compressed on the loop. Measured (Node 24, JSON, a busy core): gzip takes 0.06 ms for 4 KiB, 0.4 ms for
 * 16 KiB, 2.3 ms for 64 KiB; the thread pool adds 0.05 to 0.1 ms and some turns of the loop to each. So small ones are
 * quicker here, and none holds up the loop for half a millisecond.
 */
export const ON_LOOP = 16_384;

/** The largest body that `publish()` takes: one that is made smaller may be larger than what the broker takes. */
export function largestGiven(topic: Compressing, traits: Pick<Traits, "maxBytes">): number {
  const largest = largestOf(topic, traits);
  return topic.compress === null ? largest : Math.max(largest, inflatedMost(topic));
}

/**
 * Replaces the body by its compressed form, where the topic asks for that and it is smaller. At once, or (a promise) off the
 * loop.
 * @throws TallyError `too-large`, or rejects with it: compressed, it is still more than the broker takes
 */
export function compressed(message: Draft, topic: Compressing, traits: Pick<Traits, "maxBytes">): Promise<void> | null {
  const { compress, compressFrom } = topic;
  if (compress === null) return null;
  const most = largestOf(topic, traits);
  const plain = message.body;
  if (plain.length < compressFrom) return put(message, null, plain, most);
  const coder = coderOf(compress)!;
  if (plain.length <= ON_LOOP) return put(message, compress, coder.deflateSync(plain), most);
  return coder.deflate(plain).then((bytes) => void put(message, compress, bytes, most));
}

function put(message: Draft, encoding: string | null, bytes: Uint8Array, most: number): null {
  if (encoding !== null && bytes.length < message.body.length) {
    // Node cuts what it gives from 16 KiB at least, which would be held with it.
    const own = allocate(bytes.length);
    own.set(bytes);
    message.body = own;
    message.contentEncoding = encoding;
  }
  if (message.body.length > most)
    throw new TallyError(
      "too-large",
      `the body of ${message.id} has ${message.body.length} bytes as it would be sent; at most ${most} are taken`,
      { id: message.id },
    );
  return null;
}
