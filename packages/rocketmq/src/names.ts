import { TallyError } from "@tallymq/core/spi";

/** What RocketMQ takes as a name, but `%` and `|`: acks of a topic with a percent sign fail for ever. */
const LEGAL = /^[a-zA-Z0-9_-]+$/;
const MOST_TOPIC = 127;
const MOST_GROUP = 120;

/**
 * A name of ours on RocketMQ, which knows no dots: each is an underscore there, and each underscore two. Names in which the
 * two meet, or dots stand side by side, could be those of another topic.
 */
export function brokerName(name: string): string | null {
  return /[._]\.|\._/.test(name) ? null : name.replaceAll("_", "__").replaceAll(".", "_");
}

/** @throws TallyError `topology` where RocketMQ could not take a name */
export function legalTopic(ours: string, name: string | null): string {
  if (name !== null && LEGAL.test(name) && name.length <= MOST_TOPIC) return name;
  throw new TallyError(
    "topology",
    `RocketMQ takes no topic for ${JSON.stringify(ours)}: 1 to ${MOST_TOPIC} letters, digits, hyphens, single dots and underscores that do not meet; name another one in topics`,
  );
}

/** @throws TallyError `topology` */
export function legalGroup(ours: string, name: string | null): string {
  if (name !== null && LEGAL.test(name) && name.length <= MOST_GROUP) return name;
  throw new TallyError(
    "topology",
    `RocketMQ takes no group for ${JSON.stringify(ours)}: 1 to ${MOST_GROUP} letters, digits, hyphens, single dots and underscores that do not meet; name another one in topics`,
  );
}

/** 64 bits as hexadecimal digits; two names that share them share an order, no more. */
export function shortHash(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ (unit + i), 0x85ebca6b);
  }
  return (a >>> 0).toString(16).padStart(8, "0") + (b >>> 0).toString(16).padStart(8, "0");
}

export function slotOf(text: string, slots: number): number {
  return Number.parseInt(shortHash(text).slice(0, 8), 16) % slots;
}
