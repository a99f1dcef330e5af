import type { Topic } from "../topic.ts";

/**
 * The topic as core publishes a copy of one of its messages to: bytes as they are, for this group, and past the outbox,
 * whose rows know no group; what is copied is kept elsewhere until the copy is with the broker.
 */
export function copyTopic(topic: Topic<never, unknown>, group: string): Topic<Uint8Array> {
  return {
    ...topic,
    groups: topic.groups.includes(group) ? topic.groups : [...topic.groups, group],
    key: null,
    schema: null,
    outbox: "off",
    codec: { contentType: topic.codec.contentType, encode: (body) => body, decode: (body) => body },
  };
}
