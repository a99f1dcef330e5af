/** The one place where tests, demos and benchmarks get real brokers from. */
export type { KafkaCluster } from "./kafka/cluster.ts";
export { KafkaNode } from "./kafka/node.ts";
export { startKafka, startKafkaCluster, type KafkaStartOptions } from "./kafka/start.ts";
export { silent, toStderr, type Progress } from "./engine/progress.ts";
export { startProxy, type CutAfter, type Proxy, type Side, type Slowness } from "./proxy/proxy.ts";
export type { Alarm, PolicyPlan, QueueInfo, RabbitAdmin } from "./rabbitmq/admin.ts";
export type { RabbitCluster } from "./rabbitmq/cluster.ts";
export { RabbitNode, type RabbitHandle } from "./rabbitmq/node.ts";
export type { TlsListener } from "./rabbitmq/tls.ts";
export { authority, type Authority, type Identity } from "./tls/certificates.ts";
export { RocketNode } from "./rocketmq/node.ts";
export { startRocket, type RocketStartOptions } from "./rocketmq/start.ts";
export { startTlsFront, type TlsFront } from "./tls/front.ts";
export { startRabbit, startRabbitCluster, type StartOptions } from "./rabbitmq/start.ts";
