import { until } from "../engine/wait.ts";
import { sendRaw } from "./raw.ts";
import type { Secure } from "./secure.ts";

/** A topic that each broker has by itself. */
const OWN_TOPIC = "broker-a";

/** Resolves when a message gets through the proxy into the broker: the only proof that both serve, and know each other. */
export async function handshake(endpoint: string, within: number, secure: Secure | null): Promise<void> {
  await until("RocketMQ to take a message", within, async () => {
    await sendRaw(endpoint, OWN_TOPIC, new Uint8Array([1]), 2_000, secure);
    return true;
  });
}
