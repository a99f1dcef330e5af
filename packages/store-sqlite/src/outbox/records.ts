import type { NewRow } from "@tallymq/core/spi";
import { unpack } from "../record/unpack.ts";
import type { Records } from "../worker/protocol.ts";

/** Records from the worker as rows again; `with` adds what stands beside them. */
export function unpackRecords<T>(
  { places, at, ends, bytes }: Records,
  make: (row: NewRow, place: number, at: number, index: number) => T,
): readonly T[] {
  return places.map((place, index) => {
    const from = index === 0 ? 0 : (ends[index - 1] ?? 0);
    return make(unpack(new Uint8Array(bytes, from, (ends[index] ?? 0) - from)), place, at[index] ?? 0, index);
  });
}
