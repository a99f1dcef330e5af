import type { Outgoing } from "@tallymq/core/spi";

const encoder = new TextEncoder();

/**
 * The protocol's id of a half message: a hash of what makes it this message and no other. So each process knows under which id to
 * look for it, and copies of it are one there.
 */
export async function halfId({ producer, topic, id, key, body }: Outgoing): Promise<string> {
  const head = encoder.encode(JSON.stringify([producer, topic, id, key]));
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  let text = "01";
  for (const byte of hash.subarray(0, 16)) text += byte.toString(16).toUpperCase().padStart(2, "0");
  return text;
}
