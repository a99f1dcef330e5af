import { integer, type Rule, value } from "../policy.ts";

/** What topics write. What consumers read is more: also `deflate` and `br`. */
export type Encoding = "gzip" | "zstd";

/** Of a topic, resolved. */
export interface Compression {
  readonly compress: Encoding | null;
  /** Bytes: smaller bodies go as they are. */
  readonly compressFrom: number;
  /** Bytes; null: the topic's `maxBytes`, or 16 MiB. */
  readonly maxInflatedBytes: number | null;
}

const BROKERS_LARGEST = 16 * 1024 * 1024;

/** Below this, hardly a body shrinks by more than what its header costs. */
const WORTH_IT = 1_024;

const maxInflatedBytes: Rule<number | null> = { default: null, read: integer(1, 1, 2 ** 31 - 1).read };

export const COMPRESSION_BOUNDS: { readonly [K in keyof Compression]: Rule<Compression[K]> } = {
  compress: value<Encoding | null>(null, '"gzip" or "zstd"', (v): v is Encoding => v === "gzip" || v === "zstd"),
  compressFrom: integer(WORTH_IT, 0, 2 ** 31 - 1),
  maxInflatedBytes,
};

/** The most that a body of this topic may become when it is read. */
export function inflatedMost(topic: {
  readonly maxInflatedBytes: number | null;
  readonly maxBytes: number | null;
}): number {
  return topic.maxInflatedBytes ?? topic.maxBytes ?? BROKERS_LARGEST;
}
