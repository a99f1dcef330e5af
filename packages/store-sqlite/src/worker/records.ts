import { AT, FLAG } from "../record/layout.ts";
import { type Answer, RECORD_WIDTH, type Records } from "./protocol.ts";

/** A record as it lies in the store, with what it does not say itself. */
export interface StoredRecord {
  readonly place: number;
  readonly stored_at: number;
  readonly record: Uint8Array;
  /** It may have been sent, whether its own flags say so or not. @default false */
  readonly doubtful?: boolean;
}

/** Records as the other thread gets them. */
export function recordsOf(rows: readonly StoredRecord[]): Answer {
  const bytes = new ArrayBuffer(rows.reduce((sum, row) => sum + row.record.length, 0));
  const target = new Uint8Array(bytes);
  // Numbers of their own type: an array of numbers is written one by one for the other thread, and read so.
  const numbers = new Float64Array(rows.length * RECORD_WIDTH);
  let end = 0;
  let at = 0;
  for (const { place, stored_at, record, doubtful } of rows) {
    target.set(record, end);
    // Not in the record itself, which is read again when the row is given back.
    if (doubtful === true) target[end + AT.flags] = (target[end + AT.flags] ?? 0) | FLAG.doubtful;
    end += record.length;
    numbers[at++] = place;
    numbers[at++] = stored_at;
    numbers[at++] = end;
  }
  const records: Records = { numbers, bytes };
  return { value: records, transfer: [bytes] };
}
