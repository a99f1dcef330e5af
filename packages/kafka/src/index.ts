import type { Broker } from "@tallymq/core";
import { KafkaJs } from "./driver/kafkajs.ts";
import { type KafkaOptions, resolveKafka } from "./options.ts";
import { KafkaTransport } from "./transport.ts";

export type { TlsOptions } from "@tallymq/core/spi";
export type { AskPassword, SaslOptions } from "./sasl.ts";
export type { KafkaOptions, KafkaTopicOptions } from "./options.ts";

/**
 * Kafka 4, over kafkajs.
 *
 * Idempotent producers, acks of all in-sync replicas and commits by hand are always on.
 * @throws TallyError `bad-config`
 */
export function kafka(options: KafkaOptions): Broker {
  const resolved = resolveKafka(options);
  const { name } = resolved;
  return Object.freeze({
    name,
    open: (host) => {
      const plan = { ...resolved, clientId: host.service, consumer: resolved, wall: () => host.clock.wall() };
      return new KafkaTransport(resolved, host, new KafkaJs(plan));
    },
  } satisfies Broker);
}
