import type { Delivery } from "../port/receiving.ts";
import type { InboxKey } from "../stores.ts";
import { fingerprint } from "../compress/fingerprint.ts";

/** Stands for the producer where the broker's place is the id: no service is called so. */
export const BY_PLACE = "tally:place";

/**
 * Identity of a delivery's effect: (group, topic, producer, id).
 * @param topic The topic subscribed to, whatever the message says.
 * @param id The message's own id, or what the consumer's `id` made of it. Without one, a place that the broker keeps over
 *   redeliveries does. Never a hash of the body: two equal payments are two.
 * @returns null where there is neither.
 */
export function inboxKey(
  group: string,
  topic: string,
  id: string | null,
  { message, place }: Delivery,
): InboxKey | null {
  if (id === null && place === null) return null;
  return {
    group,
    topic,
    producer: id === null ? BY_PLACE : (message.producer ?? ""),
    id: id ?? place!,
    bodyHash: fingerprint(message),
  };
}
