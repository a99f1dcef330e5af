/**
 * One RabbitMQ for all tests of a run that do not hurt it. As `globalSetup` of a vitest project this file starts it;
 * `sharedRabbit()` (shared.ts) gives a test file its own vhost on it.
 */
import type { TestProject } from "vitest/node";
import type { RabbitHandle } from "../rabbitmq/node.ts";
import { startRabbit } from "../rabbitmq/start.ts";

declare module "vitest" {
  interface ProvidedContext {
    readonly rabbit: RabbitHandle;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const node = await startRabbit();
  project.provide("rabbit", node.handle);
  return () => node.stop();
}
