import type { HostPort } from "@tallymq/core/spi";
import type { ClientPlan, InMessage, Status } from "./driver.ts";
import { checksum, definition, duration, resource } from "./protocol.ts";

type Message = InstanceType<typeof definition.Message>;
type Settings = InstanceType<typeof definition.Settings>;

export function statusOf(given: InstanceType<typeof definition.Status> | undefined): Status {
  return { code: given?.getCode() ?? 0, text: given?.getMessage() ?? "no status came" };
}

/** What a client says of itself. */
export function settings(
  plan: ClientPlan,
  { endpoints, requestTimeout }: { readonly endpoints: readonly HostPort[]; readonly requestTimeout: number },
): Settings {
  const at = new definition.Endpoints();
  at.setScheme(definition.AddressScheme.DOMAIN_NAME);
  for (const { host, port } of endpoints) at.addAddresses().setHost(host).setPort(port);
  const all = new definition.Settings();
  all.setAccessPoint(at);
  all.setRequestTimeout(duration(requestTimeout));
  const agent = new definition.UA();
  agent.setLanguage(definition.Language.NODE_JS);
  agent.setVersion("tally");
  all.setUserAgent(agent);
  if (plan.kind === "producer") {
    all.setClientType(definition.ClientType.PRODUCER);
    const publishing = new definition.Publishing();
    publishing.setTopicsList(plan.topics.map(resource));
    publishing.setValidateMessageType(true);
    all.setPublishing(publishing);
    return all;
  }
  all.setClientType(definition.ClientType.SIMPLE_CONSUMER);
  const subscription = new definition.Subscription();
  subscription.setGroup(resource(plan.group));
  subscription.setLongPollingTimeout(duration(plan.waitMs));
  for (const topic of plan.topics) {
    const filter = new definition.FilterExpression();
    filter.setType(definition.FilterType.TAG);
    filter.setExpression("*");
    subscription.addSubscriptions().setTopic(resource(topic)).setExpression(filter);
  }
  all.setSubscription(subscription);
  return all;
}

export function incomingMessage(given: Message): InMessage {
  const system = given.getSystemProperties();
  const body = given.getBody_asU8();
  const digest = system?.getBodyDigest();
  const found = digest === undefined ? null : checksum(digest.getType(), body);
  const properties = new Map<string, string>();
  for (const [name, value] of given.getUserPropertiesMap().entries()) properties.set(name, value);
  return {
    topic: given.getTopic()?.getName() ?? "",
    messageId: system?.getMessageId() ?? "",
    handle: system?.getReceiptHandle() ?? "",
    properties,
    body,
    gzip: system?.getBodyEncoding() === definition.Encoding.GZIP && body[0] === 0x1f && body[1] === 0x8b,
    messageGroup: system?.getMessageGroup() || null,
    queueId: system?.getQueueId() ?? 0,
    offset: system?.getQueueOffset() ?? 0,
    attempt: Math.max(1, system?.getDeliveryAttempt() ?? 1),
    corrupted: found !== null && found !== digest!.getChecksum(),
  };
}
