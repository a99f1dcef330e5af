import type { Broker } from "@tallymq/core";
import { type RabbitOptions, resolveRabbit } from "./options.ts";
import { RabbitTransport } from "./transport.ts";

export type { RabbitOptions } from "./options.ts";
export type { Arguments, Declare, ExchangeType, RabbitBinding, RabbitTopicOptions } from "./topics.ts";
export type { AskCredentials, Credentials, CredentialsRequest } from "./credentials.ts";
export type { TlsOptions } from "@tallymq/core/spi";
export type { ManagementOptions } from "./audit/options.ts";
export type { RabbitNative } from "./native.ts";

/**
 * RabbitMQ 4 (3.10 and later work too, where they have what is asked for), over amqplib.
 *
 * Durable queues, persistent and mandatory messages and publisher confirms are always on.
 * @throws TallyError `bad-config`; no URL is quoted in it.
 */
export function rabbitmq(options: RabbitOptions): Broker {
  const resolved = resolveRabbit(options);
  return Object.freeze({ name: resolved.name, open: (host) => new RabbitTransport(resolved, host) } satisfies Broker);
}
