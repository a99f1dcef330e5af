import { AT, FLAG, partsOf, viewOf } from "../../record/layout.ts";
import { PUT } from "../protocol.ts";

/** What a record is beside one that is stored: null if their identities differ, compared as bytes. */
export function compare(given: Uint8Array, stored: Uint8Array): number | null {
  const [a, b] = [
    Buffer.from(given.buffer, given.byteOffset, given.length),
    Buffer.from(stored.buffer, stored.byteOffset, stored.length),
  ];
  const [x, y] = [partsOf(viewOf(a)), partsOf(viewOf(b))];
  const part = (from: "head" | keyof typeof x, to: keyof typeof x | "end"): boolean => {
    const [af, bf] = from === "head" ? [AT.texts, AT.texts] : [x[from], y[from]];
    const [at, bt] = to === "end" ? [a.length, b.length] : [x[to], y[to]];
    return a.compare(b, bf, bt, af, at) === 0;
  };
  // Head and id by themselves: their border could lie elsewhere in the same bytes.
  if (!part("head", "id") || !part("id", "traits")) return null;
  const keyed = (a[AT.flags] ?? 0) & FLAG.key;
  return keyed === ((b[AT.flags] ?? 0) & FLAG.key) && part("key", "extra") && part("body", "end")
    ? PUT.same
    : PUT.conflict;
}
