import type { Row } from "@tallymq/core/spi";
import { unpack } from "../record/unpack.ts";
import type { Records } from "../worker/protocol.ts";

/** Records from the worker as rows again. */
export function unpackRows({ places, at, ends, bytes }: Records): readonly Row[] {
  let from = 0;
  return places.map((place, index) => {
    const end = ends[index] ?? 0;
    const record = new Uint8Array(bytes, from, end - from);
    from = end;
    return unpack(record, place, at[index] ?? 0);
  });
}
