import { collectGarbage } from "@tallymq/testkit";
import { expect, it } from "vitest";
import { Sending, signal, Stage } from "./stage.ts";

/** Bytes that one more question leaves behind, once there have been some. */
async function kept(stage: Stage, times: number): Promise<number> {
  const never = new AbortController().signal;
  const ask = async (): Promise<number> => {
    for (let i = 0; i < times; i++) await stage.transport.admin.backlog("orders", "billing", never);
    stage.server.received.length = 0;
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  await ask();
  const before = await ask();
  return ((await ask()) - before) / times;
}

it("a connection keeps nothing of channels that are closed, however many there were: each question for a backlog has one", async () => {
  await using stage = await Stage.open({});
  await stage.sender();
  // A channel of the driver is some three kilobytes.
  expect(await kept(stage, 500)).toBeLessThan(1_000);
}, 30_000);

it("a connection that ends while a channel opens says why", async () => {
  await using stage = await Stage.open({
    onMethod(method, connection) {
      if (method.name !== "channel.open") return;
      connection.close(320, "CONNECTION_FORCED - shutdown");
      return "handled";
    },
  });
  await expect(stage.transport.openSender(new Sending(), signal())).rejects.toMatchObject({
    retryable: true,
    message: expect.stringMatching(/320.*shutdown/) as string,
  });
});
