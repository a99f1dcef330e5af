/** The one place where tests, demos and benchmarks get real brokers from. */
export { silent, toStderr, type Progress } from "./engine/progress.ts";
export { startProxy, Proxy, type CutAfter, type Side, type Slowness } from "./proxy/proxy.ts";
export { startRabbit, type StartOptions } from "./rabbitmq/start.ts";
export { RabbitNode, type RabbitHandle } from "./rabbitmq/node.ts";
export type { Alarm, PolicyPlan, QueueInfo } from "./rabbitmq/admin.ts";
