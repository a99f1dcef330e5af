import { type AuditFinding, findingsOf, type Looked } from "@tallymq/core/spi";
import { type Check, CHECKS } from "./checks.ts";
import type { World } from "./world.ts";

/** All that the checks find in a world. */
export function judge(world: World): readonly AuditFinding[] {
  const { vhost, exchanges } = world;
  const filled = (text: string, name: string): string =>
    text
      .replaceAll("<name>", name)
      .replaceAll("<vhost>", vhost)
      .replaceAll("<type>", exchanges.find((one) => one.name === name)?.type ?? "fanout");
  return CHECKS.flatMap((check) => findingsOf(check, look(check, world), filled, () => see(check)));
}

function look(check: Check, world: World): readonly Looked[] {
  const { destination, exchanges, queues } = world;
  switch (check.of) {
    case "broker":
      return [{ kind: null, name: destination, found: check.look(world) }];
    case "exchange":
      return exchanges.map((one) => ({ kind: "exchange", name: one.name, found: check.look(one, world) }));
    case "queue":
      return queues.map((one) => ({ kind: "queue", name: one.name, found: check.look(one, world) }));
  }
}

const see = ({ name }: Check): string =>
  name === "consumer-timeout"
    ? "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).' shows it; the default is 1800000 ms"
    : 'rabbitmq({ management: { url: "http://user:password@host:15672" } })';
