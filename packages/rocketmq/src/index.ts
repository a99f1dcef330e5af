import type { Broker } from "@tallymq/core";
import { GrpcDriver } from "./driver/grpc.ts";
import { resolveRocket, type RocketOptions } from "./options.ts";
import { Cluster } from "./remoting/cluster.ts";
import { dialTcp } from "./remoting/socket.ts";
import { RocketTransport } from "./transport.ts";

export type { TlsOptions } from "@tallymq/core/spi";
export type { RocketCredentials, RocketOptions, RocketTopicOptions } from "./options.ts";

/**
 * RocketMQ 5, over the protocol classes of rocketmq-client-nodejs.
 * @throws TallyError `bad-config`
 */
export function rocketmq(options: RocketOptions): Broker {
  const resolved = resolveRocket(options);
  const { name, names, credentials, requestTimeout } = resolved;
  return Object.freeze({
    name,
    open(host) {
      const { service, clock, random } = host;
      const driver = new GrpcDriver({ ...resolved, service, clock, random });
      const cluster =
        names.length === 0 ? null : new Cluster({ names, dial: dialTcp, clock, credentials, within: requestTimeout });
      return new RocketTransport(resolved, host, driver, cluster);
    },
  } satisfies Broker);
}
