const SLAB_BYTES = 65_536;
const LARGEST = 4_096;

let slab = new Uint8Array(SLAB_BYTES);
let used = 0;

/**
 * `length` fresh bytes, nobody else's. Small ones are cut from a shared slab: an ArrayBuffer of its own costs more than
 * the copy of a small body and everything else that is done for it. A slab is let go when the last body cut from it is.
 */
export function allocate(length: number): Uint8Array {
  if (length > LARGEST) return new Uint8Array(length);
  if (used + length > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    used = 0;
  }
  const cut = slab.subarray(used, used + length);
  // Kept at multiples of eight, as every allocator does: copies of aligned memory are faster.
  used = (used + length + 7) & ~7;
  return cut;
}

const encoder = new TextEncoder();

/** `text` in UTF-8, in bytes of its own. */
export function encodeText(text: string): Uint8Array {
  // A UTF-16 unit takes at most three bytes.
  const most = text.length * 3;
  if (most > LARGEST) return encoder.encode(text);
  if (used + most > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    used = 0;
  }
  const { written } = encoder.encodeInto(text, slab.subarray(used, used + most));
  return allocate(written);
}
