import { inject } from "vitest";
import type { Proxy } from "../proxy/proxy.ts";
import type { RabbitAdmin } from "../rabbitmq/admin.ts";
import { RabbitNode, uniqueName } from "../rabbitmq/node.ts";
import "./shared-rabbit.ts";

/** A vhost of the run's shared broker. It cannot be killed or paused: tests that need that start their own. */
export interface SharedRabbit extends AsyncDisposable {
  readonly vhost: string;
  readonly url: string;
  readonly managementUrl: string;
  /** Knows this vhost. Alarms and `closeAllConnections` would hit the whole broker: not for shared use. */
  readonly admin: RabbitAdmin;
  proxy(): Promise<Proxy>;
  urlVia(proxy: Proxy): string;
  /** Deletes the vhost with its queues. */
  stop(): Promise<void>;
}

/** Call it once for a test file (`beforeAll`), or with `await using` for one test. Takes about 0.6 s. */
export async function sharedRabbit(): Promise<SharedRabbit> {
  const handle = inject("rabbit");
  const vhost = uniqueName("test");
  const node = await RabbitNode.attach({ ...handle, vhost });
  await node.admin.addVhost(vhost);
  const stop = async (): Promise<void> => {
    await node.stop();
    await node.admin.deleteVhost(vhost);
  };
  return {
    vhost,
    url: node.url,
    managementUrl: node.managementUrl,
    admin: node.admin,
    proxy: () => node.proxy(),
    urlVia: (proxy) => node.urlVia(proxy),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
