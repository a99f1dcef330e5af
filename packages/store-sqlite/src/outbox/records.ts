import type { Row } from "@tallymq/core/spi";
import { RecordReader } from "../record/reader.ts";
import { RECORD_WIDTH, type Records } from "../worker/protocol.ts";

/** Records from the worker as rows again. */
export function rowsOf({ numbers, bytes }: Records): readonly Row[] {
  const rows: Row[] = [];
  const reader = new RecordReader(bytes);
  let from = 0;
  for (let i = 0; i < numbers.length; i += RECORD_WIDTH) {
    const [place = 0, at = 0, end = 0] = [numbers[i], numbers[i + 1], numbers[i + 2]];
    rows.push(reader.row(from, end, place, at));
    from = end;
  }
  return rows;
}
