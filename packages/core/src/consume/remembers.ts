import { TallyError } from "../error.ts";
import type { InboxStore } from "../stores.ts";
import type { Topic } from "../topic.ts";
import type { ConsumerPolicy } from "./options.ts";

/**
 * An inbox that forgets an id before the last copy of its message has come would let it have a second effect.
 *
 * The last copy: its publisher may send one for `dedupeFor` (older ones it parks), and this consumer may turn it over
 * `maxAttempts` times, each with the wait for somebody else's claim, the attempts in place and the waits behind them. What
 * it waits for in a queue while no consumer is there is not in the sum, nor what `onError` asks for by itself: nobody can
 * bound that.
 * @throws TallyError `bad-config`, with the sum
 */
export function assertRemembered(
  where: string,
  topic: Topic<never, unknown>,
  policy: ConsumerPolicy,
  inbox: InboxStore<unknown>,
): void {
  const { maxAttempts, lease, attempts, processingDeadline, retryMax } = policy;
  const redelivery = maxAttempts * (lease + attempts * (processingDeadline + retryMax));
  const sum = topic.dedupeFor + redelivery;
  if (inbox.keepsMs >= sum) return;
  throw new TallyError(
    "bad-config",
    `${where}: the inbox must keep the ids of topic ${JSON.stringify(topic.name)} for at least ${sum} ms, and keeps them for ${inbox.keepsMs} ms. ` +
      `A message can come again for that long: dedupeFor ${topic.dedupeFor} + maxAttempts ${maxAttempts} × (lease ${lease} + ` +
      `attempts ${attempts} × (processingDeadline ${processingDeadline} + retryMax ${retryMax})). ` +
      "Give the inbox a longer keepFor, the topic a shorter dedupeFor, or the consumer fewer or shorter attempts",
  );
}
